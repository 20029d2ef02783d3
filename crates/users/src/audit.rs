//! Who did what to whom. Entries are added, never changed; the database itself refuses anything else.

use domain::{Timestamp, UserId, ids::uuid_v7};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Users;

/// Something that was done, or tried. It holds no secret: no password, no token, no address of mail.
#[derive(Clone, Debug)]
pub struct NewAuditEntry {
    /// Who did it; none where nobody was signed in.
    pub actor: Option<UserId>,
    /// What: `login`, `login_refused`, `role_changed`, …
    pub action: &'static str,
    /// Whom or what it was done to; a person by their id alone.
    pub subject: Option<String>,
    /// From where, as the front door saw it.
    pub client_ip: Option<String>,
    /// The trace of the request.
    pub trace_id: Option<String>,
    /// What else there is to know.
    pub details: Value,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Which: a UUIDv7, so a later entry sorts later, to the millisecond.
    pub id: Uuid,
    /// When.
    pub recorded_at: Timestamp,
    /// Who did it.
    pub actor: Option<UserId>,
    /// What.
    pub action: String,
    /// Whom or what it was done to.
    pub subject: Option<String>,
    /// From where.
    pub client_ip: Option<String>,
    /// The trace of the request.
    pub trace_id: Option<String>,
    /// What else there is to know.
    pub details: Value,
}

/// Which entries; what is none filters nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only what this person did.
    pub actor: Option<UserId>,
    /// Only what was done to this.
    pub subject: Option<String>,
    /// Only this action.
    pub action: Option<String>,
}

/// Some of the entries, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// After which entry the next page begins; none when this is the last.
    pub next: Option<Uuid>,
}

impl Users {
    /// Writes down what was done.
    pub async fn record_audit(&self, entry: &NewAuditEntry) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        insert(&mut connection, entry, self.now()).await
    }

    /// Up to `limit` entries that the filter lets through, newest first, after the one named by `after`.
    pub async fn audit_log(
        &self,
        filter: &AuditFilter,
        limit: u32,
        after: Option<Uuid>,
    ) -> Result<AuditPage, sqlx::Error> {
        let rows = sqlx::query!(
            "SELECT id, at, actor_id, action, subject, address, trace_id, details FROM audit_log
             WHERE ($1::uuid IS NULL OR actor_id = $1) AND ($2::text IS NULL OR subject = $2)
               AND ($3::text IS NULL OR action = $3) AND ($4::uuid IS NULL OR id < $4)
             ORDER BY id DESC LIMIT $5",
            filter.actor.map(|actor| actor.0),
            filter.subject.as_deref(),
            filter.action.as_deref(),
            after,
            // One more than is shown tells whether there is another page.
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
        let more = records.len() > limit as usize;
        records.truncate(limit as usize);
        let next = records.last().filter(|_| more).map(|record| record.id);
        Ok(AuditPage {
            entries: records,
            next,
        })
    }

    /// Every entry about a person, oldest first: what they did, and what was done to them. Where another did it,
    /// that other's name and whereabouts are not theirs to know.
    pub async fn audit_log_about_user(&self, user_id: UserId) -> Result<Vec<AuditEntry>, sqlx::Error> {
        let rows = sqlx::query!(
            "SELECT id, at, actor_id, action, subject, address, trace_id, details FROM audit_log
             WHERE actor_id = $1 OR subject = $2 ORDER BY id",
            user_id.0,
            user_id.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        let records = rows.into_iter().map(|row| {
            // Where nobody was signed in, it was somebody at the door in this person's name.
            let theirs = row.actor_id.is_none_or(|actor| actor == user_id.0);
            AuditEntry {
                id: row.id,
                recorded_at: row.at,
                actor: row.actor_id.filter(|_| theirs).map(UserId),
                action: row.action,
                subject: row.subject,
                client_ip: row.address.filter(|_| theirs),
                trace_id: row.trace_id,
                details: row.details,
            }
        });
        Ok(records.collect())
    }
}

/// Writes an entry where the change that it tells of is written: both or neither.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    entry: &NewAuditEntry,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO audit_log (id, at, actor_id, action, subject, address, trace_id, details)
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
    .await
    .map(|_| ())
}
