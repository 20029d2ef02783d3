//! Whether a token that was good when it was issued still is.

use domain::{Timestamp, UserId};
use sqlx::types::Json;
use tokens::{Claims, Role};
use uuid::Uuid;

use crate::{Preferences, Users};

/// What is true of an account at this moment, whatever a token says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// What the person may do.
    pub role: Role,
    /// Tokens issued before are refused.
    pub tokens_valid_from: Timestamp,
    pub preferences: Preferences,
}

impl AccountStatus {
    /// Whether the token was issued since the account's tokens became invalid last. A token's id is a UUIDv7 and
    /// tells when to the millisecond; `iat` tells the second, in which a password may have changed.
    #[must_use]
    pub fn accepts_token(&self, claims: &Claims) -> bool {
        let issued = claims
            .jti
            .parse::<Uuid>()
            .ok()
            .and_then(|id| id.get_timestamp())
            .map(|at| at.to_unix())
            .and_then(|(seconds, nanos)| Timestamp::from_timestamp(i64::try_from(seconds).ok()?, nanos));
        issued.is_some_and(|issued| issued.timestamp_millis() >= self.tokens_valid_from.timestamp_millis())
    }
}

impl Users {
    /// How the account stands; none when there is none, or none any more.
    pub async fn account_status(&self, user_id: UserId) -> Result<Option<AccountStatus>, sqlx::Error> {
        let row = sqlx::query!(
            r#"SELECT role, tokens_valid_from, preferences AS "preferences: Json<Preferences>"
               FROM users WHERE id = $1 AND deleted_at IS NULL"#,
            user_id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| AccountStatus {
            role: parse_role(&row.role),
            tokens_valid_from: row.tokens_valid_from,
            preferences: row.preferences.0,
        }))
    }
}

/// The role by the name that the database's constraint lets through.
pub(crate) fn parse_role(name: &str) -> Role {
    match name {
        "admin" => Role::Admin,
        "support" => Role::Support,
        _ => Role::Customer,
    }
}
