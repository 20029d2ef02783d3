//! What the audit log records about a request: the client's IP address and the trace.

use std::{convert::Infallible, net::IpAddr};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use domain::UserId;
use http_server::{TraceContext, TrustedProxies};
use serde_json::Value;
use users::NewAuditEntry;

/// The client IP address and the trace id of a request, for its audit log entry.
#[derive(Clone, Debug)]
pub struct AuditContext {
    client_ip: Option<IpAddr>,
    trace_id: String,
}

impl AuditContext {
    /// The audit log entry for `action`, performed by `actor` on `subject`. The actor of an unauthenticated
    /// request is `None`.
    pub fn audit_entry(
        self,
        actor: impl Into<Option<UserId>>,
        action: &'static str,
        subject: UserId,
        details: Value,
    ) -> NewAuditEntry {
        NewAuditEntry {
            actor: actor.into(),
            action,
            subject: Some(subject.to_string()),
            client_ip: self.client_ip.map(|ip| ip.to_string()),
            trace_id: Some(self.trace_id),
            details,
        }
    }
}

impl<S> FromRequestParts<S> for AuditContext
where
    S: Send + Sync,
    TrustedProxies: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let TraceContext(trace) = TraceContext::from_request_parts(parts, state).await?;
        Ok(Self {
            client_ip: TrustedProxies::from_ref(state).client_ip(&parts.headers, &parts.extensions),
            trace_id: trace.trace_id(),
        })
    }
}
