//! Accounts at identity providers (Google, GitHub) that users sign in with.

use database::DatabaseError;
use domain::{Timestamp, UserId};
use sqlx::PgConnection;
use strum::{EnumString, IntoStaticStr};

use crate::{User, Users};

/// An identity provider that users may sign in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase", parse_err_ty = UnknownProvider, parse_err_fn = unknown_provider)]
pub enum Provider {
    /// Speaks OpenID Connect.
    Google,
    /// Speaks OAuth 2.0; the profile comes from GitHub's own API.
    GitHub,
}

/// The text names no supported identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown identity provider: expected `google` or `github`")]
pub struct UnknownProvider;

/// An account at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub provider: Provider,
    /// The provider's id of the account, which never changes.
    pub subject: String,
}

impl Provider {
    /// The provider's name in URL paths and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn unknown_provider(_: &str) -> UnknownProvider {
    UnknownProvider
}

impl Users {
    /// Finds the user whose account is linked to this identity.
    pub async fn find_by_identity(&self, identity: &Identity) -> Result<Option<User>, DatabaseError> {
        let row = sqlx::query!(
            "SELECT user_id FROM accounts.user_identities WHERE provider = $1 AND subject = $2",
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

    /// Links the identity to the user's account, so that the user can sign in with it.
    ///
    /// Returns `false` when the identity is linked to another account already; that link stays.
    pub async fn link_identity(&self, user_id: UserId, identity: &Identity) -> Result<bool, DatabaseError> {
        let now = self.now();
        let mut connection = self.pool.acquire().await?;
        insert(&mut connection, identity, user_id, now).await?;
        let row = sqlx::query!(
            "SELECT user_id FROM accounts.user_identities WHERE provider = $1 AND subject = $2",
            identity.provider.as_str(),
            identity.subject,
        )
        .fetch_one(&mut *connection)
        .await?;
        Ok(row.user_id == user_id.0)
    }
}

/// Returns `false` when the identity is linked to any account already.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    identity: &Identity,
    user_id: UserId,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let inserted = sqlx::query!(
        "INSERT INTO accounts.user_identities (provider, subject, user_id, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (provider, subject) DO NOTHING",
        identity.provider.as_str(),
        identity.subject,
        user_id.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_parse_from_their_own_names() {
        for provider in [Provider::Google, Provider::GitHub] {
            assert_eq!(provider.as_str().parse(), Ok(provider));
        }
        assert_eq!("GitHub".parse::<Provider>(), Err(UnknownProvider));
    }
}
