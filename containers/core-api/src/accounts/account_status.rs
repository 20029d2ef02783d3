//! Who is asking. A token tells who somebody is; what they may do at this moment, their account does.

use std::{sync::Arc, time::Duration};

use domain::UserId;
use moka::future::Cache;
use tokens::{Claims, Permission, Role};
use users::{AccountStatus, Users};

use crate::order_service::Buyer;

/// How long it may take until a role, a new password or the end of an account is heard of everywhere.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// Of how many people at most it is remembered.
const CACHE_CAPACITY: u64 = 10_000;

/// How accounts stand, asked once a second for each person at most. Cloning shares what is remembered.
#[derive(Clone, Debug)]
pub struct AccountStatusCache {
    users: Users,
    cache: Cache<UserId, Option<AccountStatus>>,
}

/// A person who is signed in.
#[derive(Clone, Debug)]
pub struct AuthenticatedUser {
    /// Who.
    pub id: UserId,
    /// What they may do at this moment, whatever their token says.
    pub role: Role,
    /// Where mail reaches them.
    pub email: Option<String>,
}

/// Why a token that is good as such tells of nobody.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// There is no such account, or its tokens were made invalid since.
    #[error("the account is gone, or its tokens have been made invalid")]
    TokenRevoked,
    /// The database failed.
    #[error("the accounts' database failed")]
    Database(#[from] Arc<sqlx::Error>),
}

impl AccountStatusCache {
    /// The standings of these accounts.
    #[must_use]
    pub fn new(users: Users) -> Self {
        let cache = Cache::builder()
            .max_capacity(CACHE_CAPACITY)
            .time_to_live(CACHE_TTL)
            .build();
        Self { users, cache }
    }

    /// The person that a token of the people's issuer tells of.
    pub async fn authenticate(&self, claims: Claims) -> Result<AuthenticatedUser, AuthenticationError> {
        let id: UserId = claims
            .sub
            .parse()
            .map_err(|_| AuthenticationError::TokenRevoked)?;
        // Who ask at the same time wait for one answer.
        let standing = self.cache.try_get_with(id, self.users.account_status(id)).await?;
        match standing {
            Some(standing) if standing.accepts_token(&claims) => Ok(AuthenticatedUser {
                id,
                role: standing.role,
                email: claims.email,
            }),
            _ => Err(AuthenticationError::TokenRevoked),
        }
    }

    /// Has the account asked again at the next request. Other instances follow within a second.
    pub async fn invalidate(&self, user_id: UserId) {
        self.cache.invalidate(&user_id).await;
    }
}

impl AuthenticatedUser {
    /// Whether they may do this.
    #[must_use]
    pub fn has_permission(&self, permission: Permission) -> bool {
        self.role.has_permission(permission)
    }

    /// The person as the buyer of an order; none when no mail reaches them.
    #[must_use]
    pub fn into_buyer(self) -> Option<Buyer> {
        let email = self.email?;
        Some(Buyer { id: self.id, email })
    }
}
