//! Reads the column `users.role`.

use database::DatabaseError;
use tokens::Role;

/// The database holds a role that this version of the program does not know, for example after a rollback.
///
/// It is in the source chain of the [`DatabaseError`] that the methods of [`Users`](crate::Users) return: the
/// caller answers it as an internal error and never falls back to another role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the role {0:?} is unknown")]
pub struct UnknownRole(pub String);

pub(crate) fn parse_role(name: &str) -> Result<Role, DatabaseError> {
    match name {
        "customer" => Ok(Role::Customer),
        "support" => Ok(Role::Support),
        "admin" => Ok(Role::Admin),
        // The role `service` belongs to tokens of our services. Accounts cannot have it.
        unknown => Err(DatabaseError::invalid_value(
            "role",
            UnknownRole(unknown.to_owned()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn roles_read_back_from_their_display_text() {
        for role in [Role::Customer, Role::Support, Role::Admin] {
            assert_eq!(parse_role(&role.to_string()).unwrap(), role);
        }
    }

    #[test]
    fn unknown_role_is_a_typed_error() {
        for name in ["service", "owner", "Admin", ""] {
            let error = parse_role(name).unwrap_err();
            let column_error = error.source().unwrap();
            assert!(column_error.to_string().contains("role"), "{column_error}");
            assert_eq!(
                column_error.source().unwrap().downcast_ref::<UnknownRole>(),
                Some(&UnknownRole(name.to_owned()))
            );
        }
    }
}
