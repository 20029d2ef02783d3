//! Profiles: what users read and change in their own account, and the deletion of an account.

use database::DatabaseError;
pub use domain::Language;
use domain::{QuietHours, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    NewAuditEntry, User, Users,
    accounts::{enqueue_tokens_revoked, next_millisecond},
    audit,
    phone::delete_code,
    role::parse_role,
};

/// Notification preferences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    pub order_mails: bool,
    /// True only if the account has a telephone number.
    pub order_sms: bool,
    /// When an SMS about an order waits.
    pub quiet_hours: Option<QuietHours>,
    pub language: Language,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            order_mails: true,
            order_sms: false,
            quiet_hours: None,
            language: Language::default(),
        }
    }
}

/// A user and their notification preferences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub user: User,
    pub preferences: Preferences,
    /// In the format E.164. The user has verified that they receive SMS at it.
    pub phone_number: Option<String>,
}

/// An account at an identity provider that the user can sign in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedIdentity {
    /// `google` or `github`.
    pub provider: String,
    /// The provider's id of the account.
    pub subject: String,
    pub created_at: Timestamp,
}

/// The profile was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Another request changed or deleted the account after the caller had read it.
    #[error("the account was changed by another request")]
    Conflict,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for ProfileError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// The columns of `users` that a [`Profile`] needs.
pub(crate) struct ProfileRow {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) email_verified_at: Option<Timestamp>,
    pub(crate) preferences: Json<Preferences>,
    pub(crate) phone_number: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl TryFrom<ProfileRow> for Profile {
    type Error = DatabaseError;

    fn try_from(row: ProfileRow) -> Result<Self, DatabaseError> {
        Ok(Self {
            user: User {
                id: UserId(row.id),
                email: row.email,
                name: row.name,
                role: parse_role(&row.role)?,
                email_verified_at: row.email_verified_at,
                created_at: row.created_at,
                updated_at: row.updated_at,
            },
            preferences: row.preferences.0,
            phone_number: row.phone_number,
        })
    }
}

impl Users {
    /// Returns `None` when the account does not exist or was deleted.
    pub async fn profile(&self, user_id: UserId) -> Result<Option<Profile>, DatabaseError> {
        let row = sqlx::query_as!(
            ProfileRow,
            r#"SELECT id, email AS "email!", name, role, email_verified_at,
                      preferences AS "preferences: Json<Preferences>", phone_number, created_at, updated_at
               FROM accounts.users WHERE id = $1 AND deleted_at IS NULL"#,
            user_id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Profile::try_from).transpose()
    }

    /// Replaces the name and the preferences of `profile`, which must be in the state that the caller has
    /// read.
    ///
    /// The same transaction writes `entry`. Equal values change nothing and write no entry. Fails with
    /// [`ProfileError::Conflict`] when another request changed the account meanwhile.
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
        // `updated_at` is the version of the row, so every change must increase it.
        let updated = sqlx::query!(
            "UPDATE accounts.users
             SET name = $3, preferences = $4,
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
                updated_at: updated.updated_at,
                ..profile.user
            },
            preferences,
            phone_number: profile.phone_number,
        })
    }

    /// Sets the preference `order_mails` to false. The same transaction writes `entry`, unless the preference
    /// has the value already or the account does not exist.
    pub async fn stop_order_mails(
        &self,
        user_id: UserId,
        entry: &NewAuditEntry,
    ) -> Result<(), DatabaseError> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        let updated = sqlx::query!(
            r#"UPDATE accounts.users
               SET preferences = preferences || '{"order_mails": false}',
                   updated_at = GREATEST($2, updated_at + interval '1 microsecond')
               WHERE id = $1 AND deleted_at IS NULL
                 AND COALESCE((preferences ->> 'order_mails')::boolean, true)"#,
            user_id.0,
            now,
        )
        .execute(&mut *transaction)
        .await?;
        if updated.rows_affected() == 1 {
            audit::insert(&mut transaction, entry, now).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    pub async fn linked_identities(&self, user_id: UserId) -> Result<Vec<LinkedIdentity>, DatabaseError> {
        let identities = sqlx::query_as!(
            LinkedIdentity,
            "SELECT provider, subject, created_at FROM accounts.user_identities WHERE user_id = $1
             ORDER BY created_at, provider",
            user_id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(identities)
    }

    /// Deletes the personal data of an account. The same transaction writes `entry` and the event
    /// `UserTokensRevoked`.
    ///
    /// The e-mail address becomes free, and the account accepts neither sign-ins nor tokens any more. The row
    /// stays because orders reference it. Returns `false` when the account does not exist or was deleted
    /// before.
    pub async fn delete(&self, user_id: UserId, entry: &NewAuditEntry) -> Result<bool, DatabaseError> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        let deleted = sqlx::query!(
            "UPDATE accounts.users
             SET email = NULL, password_hash = NULL, name = '', role = 'customer', preferences = '{}',
                 email_verified_at = NULL, phone_number = NULL, tokens_valid_from = $2, updated_at = $2,
                 deleted_at = $2
             WHERE id = $1 AND deleted_at IS NULL",
            user_id.0,
            now,
        )
        .execute(&mut *transaction)
        .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!(
            "DELETE FROM accounts.user_identities WHERE user_id = $1",
            user_id.0
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query!(
            "DELETE FROM accounts.user_addresses WHERE user_id = $1",
            user_id.0
        )
        .execute(&mut *transaction)
        .await?;
        delete_code(&mut transaction, user_id).await?;
        audit::insert(&mut transaction, entry, now).await?;
        enqueue_tokens_revoked(&mut transaction, user_id, next_millisecond(now), now).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
