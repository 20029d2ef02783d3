//! The audit log, as the functions write it.

use domain::UserId;
use serde_json::Value;
use users::{NewAuditEntry, Users};

use crate::api_gateway::Request;

/// Notes what was done. An entry that cannot be written is logged, and what was done stays done.
pub async fn record(
    users: &Users,
    request: &Request,
    action: &'static str,
    actor: Option<UserId>,
    subject: Option<UserId>,
    details: Value,
) {
    let entry = NewAuditEntry {
        actor,
        action,
        subject: subject.map(|subject| subject.to_string()),
        client_ip: Some(request.client_ip.clone()),
        trace_id: Some(request.traceparent.trace_id()),
        details,
    };
    if let Err(error) = users.record_audit(&entry).await {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::error!(error, action, "an entry of the audit log is lost");
    }
}
