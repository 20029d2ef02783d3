//! By which providers' accounts people sign in.

use domain::{Timestamp, UserId, clock::truncate_to_micros};
use sqlx::PgConnection;

use crate::{User, Users};

/// Who vouches for people besides us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Google, by OpenID Connect.
    Google,
    /// GitHub, by its API.
    GitHub,
}

/// An account at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose.
    pub provider: Provider,
    /// The provider's own name of the account, which never changes.
    pub subject: String,
}

impl Provider {
    /// The provider's name, in paths and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::GitHub => "github",
        }
    }

    /// The provider of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "google" => Some(Self::Google),
            "github" => Some(Self::GitHub),
            _ => None,
        }
    }
}

impl Users {
    /// The person who signs in by this account at a provider.
    pub async fn find_by_identity(&self, identity: &Identity) -> Result<Option<User>, sqlx::Error> {
        let row = sqlx::query!(
            "SELECT user_id FROM user_identities WHERE provider = $1 AND subject = $2",
            identity.provider.as_str(),
            identity.subject,
        )
        .fetch_optional(&self.pool)
        .await?;
        match row {
            Some(row) => self.find_by_id(UserId(row.user_id)).await,
            None => Ok(None),
        }
    }

    /// Lets the person sign in by this account at a provider from now on. Whose it already is keeps it; false
    /// when that is somebody else.
    pub async fn link_identity(&self, user_id: UserId, identity: &Identity) -> Result<bool, sqlx::Error> {
        let now = truncate_to_micros(self.clock.now());
        let mut connection = self.pool.acquire().await?;
        insert(&mut connection, identity, user_id, now).await?;
        let row = sqlx::query!(
            "SELECT user_id FROM user_identities WHERE provider = $1 AND subject = $2",
            identity.provider.as_str(),
            identity.subject,
        )
        .fetch_one(&mut *connection)
        .await?;
        Ok(row.user_id == user_id.0)
    }
}

/// Links the account to the person; false when it is linked already, to whomever.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    identity: &Identity,
    user_id: UserId,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "INSERT INTO user_identities (provider, subject, user_id, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (provider, subject) DO NOTHING",
        identity.provider.as_str(),
        identity.subject,
        user_id.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}
