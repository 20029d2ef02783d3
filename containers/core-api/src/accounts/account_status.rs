//! Authentication: verifies that the account of an access token still exists and loads its current role. The
//! token identifies the user; the account, not the token, determines the permissions.

use std::{sync::Arc, time::Duration};

use database::DatabaseError;
use domain::{Timestamp, UserId};
use moka::future::Cache;
use tokens::{Claims, Permission, Role};
use users::{AccountStatus, Preferences, Users};

use crate::order_service::Buyer;

/// The maximum time until all instances apply a changed role, a changed password or a deleted account.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// The maximum number of cached accounts.
const CACHE_CAPACITY: u64 = 10_000;

/// A cache of account statuses: at most one query per second and account. Clones share the cache.
#[derive(Clone, Debug)]
pub struct AccountStatusCache {
    users: Users,
    cache: Cache<UserId, Option<AccountStatus>>,
}

/// The user who sent a request.
#[derive(Clone, Debug)]
pub struct AuthenticatedUser {
    pub id: UserId,
    /// The current role of the account, which may differ from the role in the token.
    pub role: Role,
    /// The e-mail address from the token.
    pub email: Option<String>,
    /// The current notification preferences of the account.
    pub preferences: Preferences,
    /// The verified telephone number of the account.
    pub phone_number: Option<String>,
    /// Whether the account's e-mail address is verified.
    pub email_verified: bool,
    /// When the access token was issued.
    pub token_issued_at: Timestamp,
}

/// Why a correctly signed token does not authenticate a user.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    #[error("the account does not exist, or its tokens have been revoked")]
    TokenRevoked,
    #[error(transparent)]
    Database(#[from] Arc<DatabaseError>),
}

impl AccountStatusCache {
    #[must_use]
    pub fn new(users: Users) -> Self {
        let cache = Cache::builder()
            .max_capacity(CACHE_CAPACITY)
            .time_to_live(CACHE_TTL)
            .build();
        Self { users, cache }
    }

    /// The user whom a verified user token identifies.
    pub async fn authenticate(&self, claims: Claims) -> Result<AuthenticatedUser, AuthenticationError> {
        let id: UserId = claims
            .sub
            .parse()
            .map_err(|_| AuthenticationError::TokenRevoked)?;
        // Concurrent requests of the same user share one query.
        let status = self.cache.try_get_with(id, self.users.account_status(id)).await?;
        match (status, users::token_issued_at(&claims)) {
            (Some(status), Some(token_issued_at)) if status.accepts_token(&claims) => Ok(AuthenticatedUser {
                id,
                role: status.role,
                email: claims.email,
                preferences: status.preferences,
                phone_number: status.phone_number,
                email_verified: status.email_verified,
                token_issued_at,
            }),
            _ => Err(AuthenticationError::TokenRevoked),
        }
    }

    /// Makes the next request query the account again. In other instances the cached status expires within a
    /// second.
    pub async fn invalidate(&self, user_id: UserId) {
        self.cache.invalidate(&user_id).await;
    }
}

impl AuthenticatedUser {
    #[must_use]
    pub fn has_permission(&self, permission: Permission) -> bool {
        self.role.has_permission(permission)
    }

    /// The user as the buyer of an order. Returns `None` when the user has no e-mail address.
    #[must_use]
    pub fn into_buyer(self) -> Option<Buyer> {
        let email = self.email?;
        Some(Buyer {
            id: self.id,
            email,
            preferences: self.preferences,
            phone_number: self.phone_number,
            email_verified: self.email_verified,
        })
    }
}
