//! The secrets of links in mails: each opens one thing, once, for a while. Only digests are kept.

use chrono::TimeDelta;
use domain::{Clock, UserId};
use events::LinkToken;
use serde::{Deserialize, Serialize};

use crate::{
    secret,
    store::{Store, StoreError},
};

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To show that an address is one's own.
    Verify,
    /// To choose a new password.
    Reset,
}

/// What a link was sent for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// To whom.
    pub user_id: UserId,
    /// The digest of the address that it was sent to. Another address than that it does not speak for.
    pub email: String,
    /// When, in milliseconds since 1970.
    pub sent_at: i64,
}

/// The links that have been sent. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Links {
    store: Store,
    clock: Clock,
}

impl Purpose {
    fn prefix(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
        }
    }

    fn lifetime(self) -> TimeDelta {
        match self {
            Self::Verify => TimeDelta::hours(24),
            Self::Reset => TimeDelta::hours(1),
        }
    }
}

impl Link {
    /// Whether it was sent to this address.
    #[must_use]
    pub fn speaks_for(&self, email: &str) -> bool {
        self.email == secret::digest(email)
    }
}

impl Links {
    /// The links in `store`.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// A new link's secret, to be sent to the address and nowhere else.
    pub async fn issue(
        &self,
        purpose: Purpose,
        user_id: UserId,
        email: &str,
    ) -> Result<LinkToken, StoreError> {
        let (token, now) = (secret::fresh(), self.clock.now());
        let link = Link {
            user_id,
            email: secret::digest(email),
            sent_at: now.timestamp_millis(),
        };
        let ends = now + purpose.lifetime();
        self.store.keep(&id(purpose, &token), &link, ends).await?;
        Ok(LinkToken(token))
    }

    /// What the link was sent for; none when its time is over or it has been used.
    pub async fn find(&self, purpose: Purpose, token: &str) -> Result<Option<Link>, StoreError> {
        self.store.find(&id(purpose, token), self.clock.now()).await
    }

    /// Uses the link up. Of many who do so at once one succeeds.
    pub async fn take(&self, purpose: Purpose, token: &str) -> Result<Option<Link>, StoreError> {
        self.store.take(&id(purpose, token), self.clock.now()).await
    }
}

fn id(purpose: Purpose, token: &str) -> String {
    format!("{}#{}", purpose.prefix(), secret::digest(token))
}
