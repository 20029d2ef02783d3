//! Who did what to whom.

use domain::{UserId, ids::uuid_v7};
use serde_json::Value;

use crate::Users;

/// Something that was done, or tried. No secret may be in it, and no address of mail.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who did it; none where nobody was signed in.
    pub actor: Option<UserId>,
    /// What was done: `login`, `login_refused`, …
    pub action: &'static str,
    /// Whom or what it was done to.
    pub subject: Option<String>,
    /// From where, as the front door saw it.
    pub address: Option<String>,
    /// The trace of the request.
    pub trace_id: Option<String>,
    /// What else there is to know.
    pub details: Value,
}

impl Users {
    /// Adds an entry to the audit log.
    pub async fn audit(&self, entry: &Entry) -> Result<(), sqlx::Error> {
        let at = self.clock.now();
        sqlx::query!(
            "INSERT INTO audit_log (id, at, actor_id, action, subject, address, trace_id, details)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            uuid_v7(at),
            at,
            entry.actor.map(|actor| actor.0),
            entry.action,
            entry.subject,
            entry.address,
            entry.trace_id,
            entry.details,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
