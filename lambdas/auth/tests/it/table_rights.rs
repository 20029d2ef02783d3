//! The rights of the functions to the sessions table, which contains items of several kinds.

use lambda_shared::testing::{TableRights, unconditional_statements};

#[test]
fn functions_reach_only_their_own_keys() {
    let rights = |function: &str| TableRights::of_function(function, "SessionsTable").describe();
    assert_eq!(rights("oauth-start"), ["GetItem #", "PutItem oauth#*"]);
    assert_eq!(
        rights("logout"),
        ["DeleteItem refresh#*", "GetItem #", "GetItem refresh#*"]
    );
    assert_eq!(rights("jwks"), [""; 0]);
}

/// A policy without the condition would give its roles the whole table.
#[test]
fn every_right_to_the_sessions_table_has_leading_keys() {
    assert_eq!(unconditional_statements("SessionsTable"), [""; 0]);
}
