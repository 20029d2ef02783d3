//! The audit log, as the functions write it.

use domain::UserId;
use serde_json::Value;
use users::{Entry, Users};

use crate::http::Request;

/// Notes what was done. An entry that cannot be written is logged, and what was done stays done.
pub async fn note(
    users: &Users,
    request: &Request,
    action: &'static str,
    actor: Option<UserId>,
    subject: Option<UserId>,
    details: Value,
) {
    let entry = Entry {
        actor,
        action,
        subject: subject.map(|subject| subject.to_string()),
        address: Some(request.address.clone()),
        trace_id: Some(request.trace.trace_id()),
        details,
    };
    if let Err(error) = users.audit(&entry).await {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::error!(error, action, "an entry of the audit log is lost");
    }
}
