//! Links in account mails. Each link serves one purpose, works once and expires. Only digests of the tokens
//! are stored.

use chrono::{TimeDelta, serde::ts_milliseconds};
use domain::{Clock, Timestamp, UserId};
use dynamodb_table::DynamoDbError;
use events::LinkToken;
use serde::{Deserialize, Serialize};
use tokens::random_token;

use crate::sessions_table::SessionsTable;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPurpose {
    VerifyEmail,
    ResetPassword,
}

/// A link as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailLink {
    pub user_id: UserId,
    /// The digest of the e-mail address that the link was sent to.
    #[serde(rename = "email")]
    pub email_digest: String,
    /// Stored in milliseconds since 1970.
    #[serde(with = "ts_milliseconds")]
    pub sent_at: Timestamp,
}

/// Clones share the DynamoDB client.
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
    /// Whether the link was sent to this e-mail address. A link is not valid for an address that the user has
    /// changed.
    #[must_use]
    pub fn matches_email(&self, email: &str) -> bool {
        self.email_digest == random_token::digest(email)
    }
}

impl EmailLinks {
    #[must_use]
    pub fn new(sessions_table: SessionsTable, clock: Clock) -> Self {
        Self {
            sessions_table,
            clock,
        }
    }

    /// Creates a link. The returned token must go into a mail to `email` and nowhere else.
    pub async fn create(
        &self,
        purpose: LinkPurpose,
        user_id: UserId,
        email: &str,
    ) -> Result<LinkToken, DynamoDbError> {
        let (token, now) = (random_token::generate(), self.clock.now());
        let link = EmailLink {
            user_id,
            email_digest: random_token::digest(email),
            sent_at: now,
        };
        let expires_at = now + purpose.lifetime();
        self.sessions_table
            .insert(&item_key(purpose, &token), &link, expires_at)
            .await?;
        Ok(LinkToken(token))
    }

    /// Returns `None` when the link does not exist, has expired or was used.
    pub async fn find(&self, purpose: LinkPurpose, token: &str) -> Result<Option<EmailLink>, DynamoDbError> {
        self.sessions_table
            .find(&item_key(purpose, token), self.clock.now())
            .await
    }

    /// Uses the link up. Of several concurrent calls, only one gets the link.
    pub async fn consume(
        &self,
        purpose: LinkPurpose,
        token: &str,
    ) -> Result<Option<EmailLink>, DynamoDbError> {
        self.sessions_table
            .remove(&item_key(purpose, token), self.clock.now())
            .await
    }
}

fn item_key(purpose: LinkPurpose, token: &str) -> String {
    format!("{}#{}", purpose.key_prefix(), random_token::digest(token))
}
