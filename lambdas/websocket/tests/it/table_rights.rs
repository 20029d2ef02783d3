//! The rights of the functions to the connections table, which contains items of several kinds.

use lambda_shared::testing::{TableRights, unconditional_statements};

#[test]
fn functions_reach_only_their_own_keys() {
    let rights = |function: &str| TableRights::of_function(function, "ConnectionsTable").describe();
    assert_eq!(rights("websocket-authorizer"), ["DeleteItem ticket#*"]);
    assert_eq!(
        rights("websocket-connection"),
        [
            "DeleteItem not ticket#*, revoked#*",
            "GetItem not ticket#*",
            "PutItem not ticket#*, revoked#*",
            "Query address-index",
            "Query user_id-index",
            "UpdateItem not ticket#*, revoked#*",
        ]
    );
    assert_eq!(
        rights("status-push"),
        [
            "DeleteItem not ticket#*, revoked#*",
            "GetItem revoked#*",
            "Query user_id-index",
            "UpdateItem revoked#*",
        ]
    );
    assert_eq!(rights("notification-sender"), [""; 0]);
}

/// A policy without the condition would give its roles the whole table.
#[test]
fn every_right_to_the_connections_table_has_leading_keys() {
    assert_eq!(unconditional_statements("ConnectionsTable"), [""; 0]);
}
