//! Permissions, and the one table of which role has which. All other code checks permissions, never roles.

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use crate::Role;

/// An action that requires a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Read, change and delete the user's own account, addresses and preferences.
    ManageOwnAccount,
    /// Fill a cart, place orders, and read the user's own orders.
    PlaceOrders,
    /// Add, change and remove products.
    ManageCatalog,
    /// Read the accounts of all users.
    ReadUsers,
    /// See whether mails to a user's address are suppressed, and permit them again.
    ManageMailSuppressions,
    /// Assign roles to users.
    AssignRoles,
    /// Read the audit log.
    ReadAuditLog,
}

impl Role {
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        match self {
            Self::Customer => &[Permission::ManageOwnAccount, Permission::PlaceOrders],
            // Employees may place orders as well.
            Self::Support => &[
                Permission::ManageOwnAccount,
                Permission::PlaceOrders,
                Permission::ReadUsers,
                Permission::ManageMailSuppressions,
            ],
            Self::Admin => Permission::VARIANTS,
            // Services call stock-service only, which trusts another issuer and checks no permissions.
            Self::Service => &[],
        }
    }

    #[must_use]
    pub fn has_permission(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_roles_include_all_permissions_of_lower_roles() {
        for (lower, higher) in [(Role::Customer, Role::Support), (Role::Support, Role::Admin)] {
            assert!(
                lower
                    .permissions()
                    .iter()
                    .all(|&permission| higher.has_permission(permission))
            );
            assert!(lower.permissions().len() < higher.permissions().len());
        }
        assert!(Role::Service.permissions().is_empty());
        assert!(
            Permission::VARIANTS
                .iter()
                .all(|&permission| Role::Admin.has_permission(permission))
        );
    }
}
