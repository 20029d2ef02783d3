//! Who is asking. A token tells who somebody is; what they may do at this moment, their account does.

use std::{sync::Arc, time::Duration};

use access_tokens::{Claims, Permission, Role};
use domain::UserId;
use moka::future::Cache;
use users::{Standing, Users};

use crate::ordering::Buyer;

/// How long it may take until a role, a new password or the end of an account is heard of everywhere.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// Of how many people at most it is remembered.
const REMEMBERED: u64 = 10_000;

/// How accounts stand, asked once a second for each person at most. Cloning shares what is remembered.
#[derive(Clone, Debug)]
pub struct Standings {
    users: Users,
    known: Cache<UserId, Option<Standing>>,
}

/// A person who is signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who.
    pub id: UserId,
    /// What they may do at this moment, whatever their token says.
    pub role: Role,
    /// Where mail reaches them.
    pub email: Option<String>,
}

/// Why a token that is good as such tells of nobody.
#[derive(Debug, thiserror::Error)]
pub enum Unrecognised {
    /// There is no such account, or its tokens were made invalid since.
    #[error("the account is gone, or its tokens have been made invalid")]
    NotAdmitted,
    /// The database failed.
    #[error("the accounts' database failed")]
    Database(#[from] Arc<sqlx::Error>),
}

impl Standings {
    /// The standings of these accounts.
    #[must_use]
    pub fn new(users: Users) -> Self {
        let known = Cache::builder()
            .max_capacity(REMEMBERED)
            .time_to_live(BELIEVED_FOR)
            .build();
        Self { users, known }
    }

    /// The person that a token of the people's issuer tells of.
    pub async fn recognise(&self, claims: Claims) -> Result<Person, Unrecognised> {
        let id: UserId = claims.sub.parse().map_err(|_| Unrecognised::NotAdmitted)?;
        // Who ask at the same time wait for one answer.
        let standing = self.known.try_get_with(id, self.users.standing(id)).await?;
        match standing {
            Some(standing) if standing.admits(&claims) => Ok(Person {
                id,
                role: standing.role,
                email: claims.email,
            }),
            _ => Err(Unrecognised::NotAdmitted),
        }
    }

    /// Has the account asked again at the next request. Other instances follow within a second.
    pub async fn forget(&self, user_id: UserId) {
        self.known.invalidate(&user_id).await;
    }
}

impl Person {
    /// Whether they may do this.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.role.may(permission)
    }

    /// The person as the buyer of an order; none when no mail reaches them.
    #[must_use]
    pub fn into_buyer(self) -> Option<Buyer> {
        let email = self.email?;
        Some(Buyer { id: self.id, email })
    }
}
