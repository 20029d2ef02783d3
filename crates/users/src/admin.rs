//! What those who run the shop see and change of people's accounts.

use domain::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use tokens::Role;

use crate::{NewAuditEntry, Preferences, Profile, Users, audit, profile::Row, token_validity::parse_role};

/// Which accounts; what is none filters nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UserFilter {
    /// Only the account with this address of mail.
    pub email: Option<String>,
}

/// Where an account stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPosition {
    created_at: Timestamp,
    id: UserId,
}

/// Some of the accounts, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPage {
    /// The accounts.
    pub profiles: Vec<Profile>,
    /// After which account the next page begins; none when this is the last.
    pub next: Option<UserPosition>,
}

/// Why somebody's role was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SetRoleError {
    /// There is no such account, or none any more.
    #[error("there is no such account")]
    NotFound,
    /// Nobody changes their own.
    #[error("nobody changes their own role")]
    OwnRole,
    /// The one who asks was an administrator a moment ago.
    #[error("only administrators change roles")]
    NotAdministrator,
    /// Programs have no accounts.
    #[error("no person can have this role")]
    NotAssignable,
    /// The database failed.
    #[error("the accounts' database failed")]
    Database(#[from] sqlx::Error),
}

impl Users {
    /// Up to `limit` accounts that the filter lets through, newest first, after the one named by `after`.
    pub async fn list(
        &self,
        filter: &UserFilter,
        limit: u32,
        after: Option<UserPosition>,
    ) -> Result<UserPage, sqlx::Error> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT id, email AS "email!", name, role, email_verified_at,
                      preferences AS "preferences: Json<Preferences>", created_at, updated_at
               FROM users
               WHERE deleted_at IS NULL AND ($1::text IS NULL OR email = $1)
                 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
               ORDER BY created_at DESC, id DESC LIMIT $4"#,
            filter.email.as_deref(),
            after.map(|after| after.created_at),
            after.map(|after| after.id.0),
            // One more than is shown tells whether there is another page.
            i64::from(limit) + 1,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut profiles: Vec<Profile> = rows.into_iter().map(Profile::from).collect();
        let more = profiles.len() > limit as usize;
        profiles.truncate(limit as usize);
        let next = profiles.last().filter(|_| more).map(|profile| UserPosition {
            created_at: profile.user.created_at,
            id: profile.user.id,
        });
        Ok(UserPage { profiles, next })
    }

    /// Gives somebody another role. `entry` is completed by what the role was and is, and written in the same
    /// transaction; the same role again changes nothing and is not written down.
    ///
    /// Both accounts are held meanwhile, in the order of their ids: of two administrators who take the role from
    /// each other at once, one is told that they may not.
    pub async fn set_role(
        &self,
        actor: UserId,
        user_id: UserId,
        new: Role,
        mut entry: NewAuditEntry,
    ) -> Result<(), SetRoleError> {
        if actor == user_id {
            return Err(SetRoleError::OwnRole);
        }
        if new == Role::Service {
            return Err(SetRoleError::NotAssignable);
        }
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        let held = sqlx::query!(
            "SELECT id, role FROM users WHERE id = ANY($1) AND deleted_at IS NULL ORDER BY id FOR UPDATE",
            &[actor.0, user_id.0][..],
        )
        .fetch_all(&mut *transaction)
        .await?;
        let role_of = |id: UserId| {
            held.iter()
                .find(|row| row.id == id.0)
                .map(|row| parse_role(&row.role))
        };
        if role_of(actor) != Some(Role::Admin) {
            return Err(SetRoleError::NotAdministrator);
        }
        let old = role_of(user_id).ok_or(SetRoleError::NotFound)?;
        if old == new {
            return Ok(());
        }
        sqlx::query!(
            "UPDATE users SET role = $2, updated_at = GREATEST($3, updated_at + interval '1 microsecond') WHERE id = $1",
            user_id.0,
            new.to_string(),
            now,
        )
        .execute(&mut *transaction)
        .await?;
        entry.details = serde_json::json!({"from": old, "to": new});
        audit::insert(&mut transaction, &entry, now).await?;
        transaction.commit().await?;
        Ok(())
    }
}
