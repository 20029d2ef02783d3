//! What may be done, and which role may do it. Nowhere else is a role asked for its name.

use serde::{Deserialize, Serialize};

use crate::Role;

/// Something that not everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Reading, changing and deleting what is one's own: account, addresses, preferences.
    ManageOwnAccount,
    /// Filling a cart, ordering, and seeing what one has ordered.
    PlaceOrders,
    /// Adding, changing and removing products.
    ManageCatalog,
    /// Looking up people's accounts.
    ReadUsers,
    /// Saying who has which role.
    AssignRoles,
    /// Reading who did what to whom.
    ReadAuditLog,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 6] = [
        Self::ManageOwnAccount,
        Self::PlaceOrders,
        Self::ManageCatalog,
        Self::ReadUsers,
        Self::AssignRoles,
        Self::ReadAuditLog,
    ];
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Customer, Self::Support, Self::Admin, Self::Service];

    /// What the role permits: the one table of it.
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        match self {
            Self::Customer => &[Permission::ManageOwnAccount, Permission::PlaceOrders],
            // Whoever works for the shop may buy in it.
            Self::Support => &[
                Permission::ManageOwnAccount,
                Permission::PlaceOrders,
                Permission::ReadUsers,
            ],
            Self::Admin => &Permission::ALL,
            // Our programs ask each other elsewhere, with another issuer's tokens.
            Self::Service => &[],
        }
    }

    /// Whether the role permits this.
    #[must_use]
    pub fn has_permission(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_more_may_all_that_the_others_may() {
        for (less, more) in [(Role::Customer, Role::Support), (Role::Support, Role::Admin)] {
            assert!(
                less.permissions()
                    .iter()
                    .all(|&permission| more.has_permission(permission))
            );
            assert!(less.permissions().len() < more.permissions().len());
        }
        assert!(Role::Service.permissions().is_empty());
        assert!(
            Permission::ALL
                .iter()
                .all(|&permission| Role::Admin.has_permission(permission))
        );
    }
}
