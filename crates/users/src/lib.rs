//! User accounts in PostgreSQL: identity, sign-in credentials, role, addresses and the audit log.
//!
//! core-api and the functions of `lambdas/auth` share this crate. They create and verify passwords and
//! tokens; this crate only stores password hashes and the time from which an account accepts tokens.

mod accounts;
mod addresses;
mod admin;
mod audit;
mod identities;
mod phone;
mod profile;
mod role;
mod token_validity;
mod validation;

use domain::{Clock, Timestamp, UserId, clock::truncate_to_micros};
use sqlx::PgPool;

pub use accounts::{Credential, NewUser, Registration, StoredCredentials};
pub use addresses::{Address, AddressDetails, AddressError, MAX_ADDRESSES};
pub use admin::{SetRoleError, UserFilter, UserPage, UserPosition};
pub use audit::{AuditEntry, AuditFilter, AuditPage, NewAuditEntry};
pub use identities::{Identity, Provider, UnknownProvider};
pub use phone::{CODE_LIFETIME, MAX_CODE_ATTEMPTS, PhoneCode, PhoneCodeError, PhoneVerificationError};
pub use profile::{Language, LinkedIdentity, Preferences, Profile, ProfileError};
pub use role::UnknownRole;
pub use token_validity::{AccountStatus, token_issued_at};
pub use validation::{DisplayName, EmailAddress, InvalidDisplayName, InvalidEmailAddress};

/// The repository of user accounts. Clones share the connection pool.
#[derive(Clone, Debug)]
pub struct Users {
    pool: PgPool,
    clock: Clock,
}

/// An account that exists and was not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// In lower case.
    pub email: String,
    /// The display name.
    pub name: String,
    pub role: tokens::Role,
    /// `None` until the user proves that they own the e-mail address.
    pub email_verified_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Users {
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// The current time, truncated to the microseconds that PostgreSQL stores.
    fn now(&self) -> Timestamp {
        truncate_to_micros(self.clock.now())
    }
}
