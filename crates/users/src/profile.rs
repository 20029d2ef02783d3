//! What people see and change of their own accounts, and the end of an account.

pub use domain::Language;
use domain::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{NewAuditEntry, User, Users, audit, token_validity::parse_role};

/// How somebody wants to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// Whether mail about orders is sent.
    pub order_mails: bool,
    /// In what language.
    pub language: Language,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            order_mails: true,
            language: Language::default(),
        }
    }
}

/// A person with what they prefer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The person.
    pub user: User,
    /// What they prefer.
    pub preferences: Preferences,
}

/// A provider's account by which somebody may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedIdentity {
    /// Whose account: `google`, `github`.
    pub provider: String,
    /// The provider's own name of it.
    pub subject: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is no longer as it was when the change was decided, or no longer there.
    #[error("the account has changed meanwhile")]
    Conflict,
    /// The database failed.
    #[error("the accounts' database failed")]
    Database(#[from] sqlx::Error),
}

/// An account's row, without what only signing in needs.
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) email_verified_at: Option<Timestamp>,
    pub(crate) preferences: Json<Preferences>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl From<Row> for Profile {
    fn from(row: Row) -> Self {
        Self {
            user: User {
                id: UserId(row.id),
                email: row.email,
                name: row.name,
                role: parse_role(&row.role),
                email_verified_at: row.email_verified_at,
                created_at: row.created_at,
                updated_at: row.updated_at,
            },
            preferences: row.preferences.0,
        }
    }
}

impl Users {
    /// A person's account; none when there is none, or none any more.
    pub async fn profile(&self, user_id: UserId) -> Result<Option<Profile>, sqlx::Error> {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT id, email AS "email!", name, role, email_verified_at,
                      preferences AS "preferences: Json<Preferences>", created_at, updated_at
               FROM users WHERE id = $1 AND deleted_at IS NULL"#,
            user_id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(Profile::from))
    }

    /// Gives `profile`, as the caller has read it, another name and other preferences. The same ones change nothing.
    pub async fn update_profile(
        &self,
        profile: Profile,
        name: String,
        preferences: Preferences,
        entry: &NewAuditEntry,
    ) -> Result<Profile, ProfileError> {
        if (&profile.user.name, profile.preferences) == (&name, preferences) {
            return Ok(profile);
        }
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        // The moment of the last change is the version, so no two changes may have the same.
        let changed = sqlx::query!(
            "UPDATE users SET name = $3, preferences = $4,
                              updated_at = GREATEST($5, updated_at + interval '1 microsecond')
             WHERE id = $1 AND updated_at = $2 AND deleted_at IS NULL RETURNING updated_at",
            profile.user.id.0,
            profile.user.updated_at,
            name,
            Json(preferences) as _,
            now,
        )
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(ProfileError::Conflict)?;
        audit::insert(&mut transaction, entry, now).await?;
        transaction.commit().await?;
        Ok(Profile {
            user: User {
                name,
                updated_at: changed.updated_at,
                ..profile.user
            },
            preferences,
        })
    }

    /// The providers' accounts by which a person may sign in.
    pub async fn linked_identities(&self, user_id: UserId) -> Result<Vec<LinkedIdentity>, sqlx::Error> {
        sqlx::query_as!(
            LinkedIdentity,
            "SELECT provider, subject, created_at FROM user_identities WHERE user_id = $1
             ORDER BY created_at, provider",
            user_id.0,
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Empties an account: its address of mail is free again, and nobody signs in to it or comes with a token of it.
    /// The row stays, because orders name it. Returns whether there was an account.
    pub async fn delete(&self, user_id: UserId, entry: &NewAuditEntry) -> Result<bool, sqlx::Error> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        let emptied = sqlx::query!(
            "UPDATE users SET email = NULL, password_hash = NULL, name = '', role = 'customer', preferences = '{}',
                              email_verified_at = NULL, tokens_valid_from = $2, updated_at = $2, deleted_at = $2
             WHERE id = $1 AND deleted_at IS NULL",
            user_id.0,
            now,
        )
        .execute(&mut *transaction)
        .await?;
        if emptied.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("DELETE FROM user_identities WHERE user_id = $1", user_id.0)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!("DELETE FROM user_addresses WHERE user_id = $1", user_id.0)
            .execute(&mut *transaction)
            .await?;
        audit::insert(&mut transaction, entry, now).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
