//! Decides whether the account still accepts a token that was valid when it was issued.

use database::DatabaseError;
use domain::{Timestamp, UserId};
use sqlx::types::Json;
use tokens::{Claims, Role};
use uuid::Uuid;

use crate::{Preferences, Users, role::parse_role};

/// The account's current state, which overrides what a token claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    pub role: Role,
    /// The account rejects tokens that were issued earlier.
    pub tokens_valid_from: Timestamp,
    pub preferences: Preferences,
    /// The verified telephone number.
    pub phone_number: Option<String>,
    pub email_verified: bool,
}

impl AccountStatus {
    /// Whether the token was issued at or after `tokens_valid_from`.
    ///
    /// The token's id is a UUIDv7 and carries the issue time in milliseconds. `iat` has only seconds, and a
    /// password may change within one.
    #[must_use]
    pub fn accepts_token(&self, claims: &Claims) -> bool {
        token_issued_at(claims).is_some_and(|issued_at| {
            issued_at.timestamp_millis() >= self.tokens_valid_from.timestamp_millis()
        })
    }
}

/// When the token was issued, with a precision of a millisecond. `None` if the token's id is no UUIDv7.
#[must_use]
pub fn token_issued_at(claims: &Claims) -> Option<Timestamp> {
    let id: Uuid = claims.jti.parse().ok()?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Timestamp::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}

impl Users {
    /// Returns `None` when the account does not exist or was deleted.
    pub async fn account_status(&self, user_id: UserId) -> Result<Option<AccountStatus>, DatabaseError> {
        let row = sqlx::query!(
            r#"SELECT role, tokens_valid_from, preferences AS "preferences: Json<Preferences>",
                      phone_number,
                      email_verified_at IS NOT NULL AS "email_verified!"
               FROM accounts.users WHERE id = $1 AND deleted_at IS NULL"#,
            user_id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(AccountStatus {
                role: parse_role(&row.role)?,
                tokens_valid_from: row.tokens_valid_from,
                preferences: row.preferences.0,
                phone_number: row.phone_number,
                email_verified: row.email_verified,
            })
        })
        .transpose()
    }
}
