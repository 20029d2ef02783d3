//! People's accounts in PostgreSQL: who they are, how they come in, what they may do, and what was done to whom.
//!
//! The functions of `lambdas/auth` and core-api share them. Passwords and tokens are made and checked there; here
//! they are kept.

mod accounts;
mod addresses;
mod admin;
mod audit;
mod identities;
mod profile;
mod token_validity;
mod validation;

use domain::{Clock, Timestamp, UserId, clock::truncate_to_micros};
use sqlx::PgPool;

pub use accounts::{Credential, NewUser, Registration, StoredCredentials};
pub use addresses::{Address, AddressDetails, AddressError, MAX_ADDRESSES};
pub use admin::{SetRoleError, UserFilter, UserPage, UserPosition};
pub use audit::{AuditEntry, AuditFilter, AuditPage, NewAuditEntry};
pub use identities::{Identity, Provider};
pub use profile::{Language, LinkedIdentity, Preferences, Profile, ProfileError};
pub use token_validity::AccountStatus;
pub use validation::{DisplayName, EmailAddress, InvalidDisplayName, InvalidEmailAddress};

/// The accounts. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Users {
    pool: PgPool,
    clock: Clock,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Where mail reaches them, in small letters.
    pub email: String,
    /// How they want to be called.
    pub name: String,
    /// What they may do.
    pub role: tokens::Role,
    /// When the address was found to be theirs.
    pub email_verified_at: Option<Timestamp>,
    /// When they registered.
    pub created_at: Timestamp,
    /// When anything here changed last.
    pub updated_at: Timestamp,
}

impl Users {
    /// The accounts in the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// A moment that reads back from the database as it was written.
    fn now(&self) -> Timestamp {
        truncate_to_micros(self.clock.now())
    }
}
