//! Account administration: the list of accounts and role changes.

use database::{DatabaseError, truncate_page};
use domain::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use tokens::Role;

use crate::{NewAuditEntry, Preferences, Profile, Users, audit, profile::ProfileRow, role::parse_role};

/// Filters the list of accounts. A filter that is `None` matches every account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UserFilter {
    /// Exact match.
    pub email: Option<String>,
}

/// The sort key of an account in the list (keyset pagination).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPosition {
    created_at: Timestamp,
    id: UserId,
}

/// A page of accounts, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPage {
    pub profiles: Vec<Profile>,
    /// The position to pass as `after` for the next page; `None` on the last page.
    pub next: Option<UserPosition>,
}

/// The role was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SetRoleError {
    /// The account does not exist or was deleted.
    #[error("the account does not exist")]
    NotFound,
    /// This way at least one administrator always remains.
    #[error("administrators cannot change their own role")]
    OwnRole,
    /// The actor's token is still valid, but the account is no longer an administrator's.
    #[error("only administrators can change roles")]
    NotAdministrator,
    /// Services have no accounts.
    #[error("this role cannot be assigned to an account")]
    NotAssignable,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for SetRoleError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl Users {
    /// Returns up to `limit` accounts that match the filter, newest first, starting after the position
    /// `after`.
    pub async fn list(
        &self,
        filter: &UserFilter,
        limit: u32,
        after: Option<UserPosition>,
    ) -> Result<UserPage, DatabaseError> {
        let rows = sqlx::query_as!(
            ProfileRow,
            r#"SELECT id, email AS "email!", name, role, email_verified_at,
                      preferences AS "preferences: Json<Preferences>", phone_number, created_at, updated_at
               FROM accounts.users
               WHERE deleted_at IS NULL AND ($1::text IS NULL OR email = $1)
                 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
               ORDER BY created_at DESC, id DESC LIMIT $4"#,
            filter.email.as_deref(),
            after.map(|after| after.created_at),
            after.map(|after| after.id.0),
            // One row more than the page shows whether another page follows.
            i64::from(limit) + 1,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut profiles: Vec<Profile> = rows
            .into_iter()
            .map(Profile::try_from)
            .collect::<Result<_, _>>()?;
        let next = truncate_page(&mut profiles, limit, |profile| UserPosition {
            created_at: profile.user.created_at,
            id: profile.user.id,
        });
        Ok(UserPage { profiles, next })
    }

    /// Changes the role of another user's account.
    ///
    /// The same transaction writes `entry`, with the old and the new role as its details. Setting the current
    /// role again changes nothing and writes no entry.
    ///
    /// The transaction locks both accounts in the order of their ids. When two administrators demote each
    /// other concurrently, the second one gets [`SetRoleError::NotAdministrator`].
    pub async fn set_role(
        &self,
        actor: UserId,
        user_id: UserId,
        new_role: Role,
        mut entry: NewAuditEntry,
    ) -> Result<(), SetRoleError> {
        if actor == user_id {
            return Err(SetRoleError::OwnRole);
        }
        if new_role == Role::Service {
            return Err(SetRoleError::NotAssignable);
        }
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        let accounts = sqlx::query!(
            "SELECT id, role FROM accounts.users WHERE id = ANY($1) AND deleted_at IS NULL
             ORDER BY id FOR UPDATE",
            &[actor.0, user_id.0][..],
        )
        .fetch_all(&mut *transaction)
        .await?;
        let role_of = |id: UserId| {
            accounts
                .iter()
                .find(|row| row.id == id.0)
                .map(|row| parse_role(&row.role))
                .transpose()
        };
        if role_of(actor)? != Some(Role::Admin) {
            return Err(SetRoleError::NotAdministrator);
        }
        let old_role = role_of(user_id)?.ok_or(SetRoleError::NotFound)?;
        if old_role == new_role {
            return Ok(());
        }
        sqlx::query!(
            "UPDATE accounts.users
             SET role = $2, updated_at = GREATEST($3, updated_at + interval '1 microsecond') WHERE id = $1",
            user_id.0,
            new_role.to_string(),
            now,
        )
        .execute(&mut *transaction)
        .await?;
        entry.details = serde_json::json!({"from": old_role, "to": new_role});
        audit::insert(&mut transaction, &entry, now).await?;
        transaction.commit().await?;
        Ok(())
    }
}
