//! Writes the audit log entries of the auth functions.

use domain::UserId;
use serde_json::Value;
use users::{NewAuditEntry, Users};

use crate::http::RequestContext;

/// Adds an entry to the audit log. A failure is logged only: the action itself has succeeded already.
pub async fn record(
    users: &Users,
    context: &RequestContext,
    action: &'static str,
    actor: Option<UserId>,
    subject: Option<UserId>,
    details: Value,
) {
    let entry = NewAuditEntry {
        actor,
        action,
        subject: subject.map(|subject| subject.to_string()),
        client_ip: Some(context.client_ip.clone()),
        trace_id: Some(context.traceparent.trace_id()),
        details,
    };
    if let Err(error) = users.record_audit(&entry).await {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::error!(
            error,
            action,
            "an audit log entry could not be written and is lost"
        );
    }
}
