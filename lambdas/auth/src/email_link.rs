//! The secrets of links in mails: each opens one thing, once, for a while. Only digests are kept.

use chrono::TimeDelta;
use domain::{Clock, UserId};
use events::LinkToken;
use serde::{Deserialize, Serialize};

use crate::{
    random_token,
    sessions_table::{SessionsTable, SessionsTableError},
};

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPurpose {
    /// To show that an address is one's own.
    VerifyEmail,
    /// To choose a new password.
    ResetPassword,
}

/// What a link was sent for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailLink {
    /// To whom.
    pub user_id: UserId,
    /// The digest of the address that it was sent to. Another address than that it does not speak for.
    pub email: String,
    /// When, in milliseconds since 1970.
    pub sent_at: i64,
}

/// The links that have been sent. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct EmailLinks {
    sessions_table: SessionsTable,
    clock: Clock,
}

impl LinkPurpose {
    fn key_prefix(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify",
            Self::ResetPassword => "reset",
        }
    }

    fn lifetime(self) -> TimeDelta {
        match self {
            Self::VerifyEmail => TimeDelta::hours(24),
            Self::ResetPassword => TimeDelta::hours(1),
        }
    }
}

impl EmailLink {
    /// Whether it was sent to this address.
    #[must_use]
    pub fn matches_email(&self, email: &str) -> bool {
        self.email == random_token::digest(email)
    }
}

impl EmailLinks {
    /// The links in `store`.
    #[must_use]
    pub fn new(sessions_table: SessionsTable, clock: Clock) -> Self {
        Self {
            sessions_table,
            clock,
        }
    }

    /// A new link's secret, to be sent to the address and nowhere else.
    pub async fn create(
        &self,
        purpose: LinkPurpose,
        user_id: UserId,
        email: &str,
    ) -> Result<LinkToken, SessionsTableError> {
        let (token, now) = (random_token::generate(), self.clock.now());
        let link = EmailLink {
            user_id,
            email: random_token::digest(email),
            sent_at: now.timestamp_millis(),
        };
        let ends = now + purpose.lifetime();
        self.sessions_table
            .insert(&item_key(purpose, &token), &link, ends)
            .await?;
        Ok(LinkToken(token))
    }

    /// What the link was sent for; none when its time is over or it has been used.
    pub async fn find(
        &self,
        purpose: LinkPurpose,
        token: &str,
    ) -> Result<Option<EmailLink>, SessionsTableError> {
        self.sessions_table
            .find(&item_key(purpose, token), self.clock.now())
            .await
    }

    /// Uses the link up. Of many who do so at once one succeeds.
    pub async fn consume(
        &self,
        purpose: LinkPurpose,
        token: &str,
    ) -> Result<Option<EmailLink>, SessionsTableError> {
        self.sessions_table
            .remove(&item_key(purpose, token), self.clock.now())
            .await
    }
}

fn item_key(purpose: LinkPurpose, token: &str) -> String {
    format!("{}#{}", purpose.key_prefix(), random_token::digest(token))
}
