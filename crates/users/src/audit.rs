//! The audit log: who did what to which account.
//!
//! The table is append-only: database triggers reject updates and deletes.

use database::{DatabaseError, truncate_page};
use domain::{Timestamp, UserId, ids::uuid_v7};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Users;

/// An action, or an attempt at one, to add to the audit log.
///
/// It must not contain passwords, tokens, e-mail addresses or telephone numbers.
#[derive(Clone, Debug)]
pub struct NewAuditEntry {
    /// The signed-in user; `None` for unauthenticated requests and for operators' commands.
    pub actor: Option<UserId>,
    /// For example `login`, `login_refused` or `role_changed`.
    pub action: &'static str,
    /// What the action affects. A user is identified by their id only.
    pub subject: Option<String>,
    /// The client's IP address as the API gateway reports it.
    pub client_ip: Option<String>,
    /// The W3C trace id of the request.
    pub trace_id: Option<String>,
    pub details: Value,
}

/// An entry of the audit log. The fields have the meaning that they have in [`NewAuditEntry`].
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// A UUIDv7: ids sort by time, with a precision of one millisecond.
    pub id: Uuid,
    pub recorded_at: Timestamp,
    pub actor: Option<UserId>,
    pub action: String,
    pub subject: Option<String>,
    pub client_ip: Option<String>,
    /// The W3C trace id of the request.
    pub trace_id: Option<String>,
    pub details: Value,
}

/// Filters the audit log. A filter that is `None` matches every entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub actor: Option<UserId>,
    pub subject: Option<String>,
    pub action: Option<String>,
}

/// A page of audit log entries, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// The id to pass as `after` for the next page; `None` on the last page.
    pub next: Option<Uuid>,
}

impl Users {
    /// Adds an entry outside any other transaction.
    pub async fn record_audit(&self, entry: &NewAuditEntry) -> Result<(), DatabaseError> {
        let mut connection = self.pool.acquire().await?;
        insert(&mut connection, entry, self.now()).await
    }

    /// Returns up to `limit` entries that match the filter, newest first, starting after the entry `after`.
    pub async fn audit_log(
        &self,
        filter: &AuditFilter,
        limit: u32,
        after: Option<Uuid>,
    ) -> Result<AuditPage, DatabaseError> {
        let rows = sqlx::query!(
            "SELECT id, at, actor_id, action, subject, address, trace_id, details FROM accounts.audit_log
             WHERE ($1::uuid IS NULL OR actor_id = $1) AND ($2::text IS NULL OR subject = $2)
               AND ($3::text IS NULL OR action = $3) AND ($4::uuid IS NULL OR id < $4)
             ORDER BY id DESC LIMIT $5",
            filter.actor.map(|actor| actor.0),
            filter.subject.as_deref(),
            filter.action.as_deref(),
            after,
            // One row more than the page shows whether another page follows.
            i64::from(limit) + 1,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut records: Vec<AuditEntry> = rows
            .into_iter()
            .map(|row| AuditEntry {
                id: row.id,
                recorded_at: row.at,
                actor: row.actor_id.map(UserId),
                action: row.action,
                subject: row.subject,
                client_ip: row.address,
                trace_id: row.trace_id,
                details: row.details,
            })
            .collect();
        let next = truncate_page(&mut records, limit, |record| record.id);
        Ok(AuditPage {
            entries: records,
            next,
        })
    }

    /// Returns every entry whose actor or subject is the user, oldest first.
    ///
    /// Where another user was the actor, the entry contains neither that user's id nor their IP address.
    pub async fn audit_log_about_user(&self, user_id: UserId) -> Result<Vec<AuditEntry>, DatabaseError> {
        let rows = sqlx::query!(
            "SELECT id, at, actor_id, action, subject, address, trace_id, details FROM accounts.audit_log
             WHERE actor_id = $1 OR subject = $2 ORDER BY id",
            user_id.0,
            user_id.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        let records = rows.into_iter().map(|row| {
            // Without an actor, the request was an unauthenticated one for this account, such as a failed
            // login.
            let is_own_request = row.actor_id.is_none_or(|actor| actor == user_id.0);
            AuditEntry {
                id: row.id,
                recorded_at: row.at,
                actor: row.actor_id.filter(|_| is_own_request).map(UserId),
                action: row.action,
                subject: row.subject,
                client_ip: row.address.filter(|_| is_own_request),
                trace_id: row.trace_id,
                details: row.details,
            }
        });
        Ok(records.collect())
    }
}

/// Adds an entry in the transaction of the change that it describes.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    entry: &NewAuditEntry,
    at: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "INSERT INTO accounts.audit_log (id, at, actor_id, action, subject, address, trace_id, details)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        uuid_v7(at),
        at,
        entry.actor.map(|actor| actor.0),
        entry.action,
        entry.subject.as_deref(),
        entry.client_ip.as_deref(),
        entry.trace_id.as_deref(),
        &entry.details,
    )
    .execute(connection)
    .await?;
    Ok(())
}
