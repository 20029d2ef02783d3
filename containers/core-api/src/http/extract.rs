//! From where and under which conditions somebody asks, taken from a request's headers.

use std::{convert::Infallible, net::IpAddr};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, request::Parts},
};
use domain::UserId;
use headers::{ETag, HeaderMapExt, IfMatch};
use http_server::{Problem, TraceContext, TrustedProxies};
use serde_json::Value;
use users::{NewAuditEntry, Profile};

use crate::{carts::CartToken, catalog::Product};

/// The name that a customer gives an attempt, so that a repetition is known for one.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let refused = || {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "idempotency-key-required",
                "Idempotency-Key header required",
            )
            .detail("Send one header Idempotency-Key with 1 to 255 printable ASCII characters.")
        };
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(refused());
        };
        // `to_str` lets visible ASCII and tabs through.
        match key.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) && !key.contains('\t') => Ok(Self(key.to_owned())),
            _ => Err(refused()),
        }
    }
}

/// The version that a change was decided on.
#[derive(Clone, Debug)]
pub struct IfMatchHeader(IfMatch);

impl IfMatchHeader {
    /// Refuses to go on when it is another by now.
    pub fn require_match(&self, current: &ETag) -> Result<(), Problem> {
        if self.0.precondition_passes(current) {
            Ok(())
        } else {
            Err(precondition_failed())
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatchHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.headers.typed_get().map(Self).ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if-match-required",
                "If-Match header required",
            )
            .detail("Send the ETag of the version that you read in the header If-Match.")
        })
    }
}

/// 412: somebody else was faster.
pub fn precondition_failed() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "precondition-failed",
        "Precondition failed",
    )
    .detail("The resource has changed since you read it. Read it again and repeat the change.")
}

/// A product's version as its entity tag.
pub fn product_etag(product: &Product) -> ETag {
    format!("\"{}\"", product.version)
        .parse()
        .expect("digits in quotes are an entity tag")
}

/// An account's version as its entity tag: the moment of its last change, to the microsecond.
pub fn profile_etag(profile: &Profile) -> ETag {
    format!("\"{}\"", profile.user.updated_at.timestamp_micros())
        .parse()
        .expect("digits in quotes are an entity tag")
}

/// From where and in which trace a request comes, for the audit log.
#[derive(Clone, Debug)]
pub struct AuditContext {
    client_ip: Option<IpAddr>,
    trace_id: String,
}

impl AuditContext {
    /// The entry of what `actor` does to `subject`.
    pub fn audit_entry(
        self,
        actor: UserId,
        action: &'static str,
        subject: UserId,
        details: Value,
    ) -> NewAuditEntry {
        NewAuditEntry {
            actor: Some(actor),
            action,
            subject: Some(subject.to_string()),
            client_ip: self.client_ip.map(|address| address.to_string()),
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

/// The cart that somebody brings who was not signed in when they filled it.
#[derive(Clone, Debug)]
pub struct CartTokenHeader(pub Option<CartToken>);

impl<S: Send + Sync> FromRequestParts<S> for CartTokenHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let refused = || {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-cart-token",
                "Invalid cart token",
            )
            .detail("Send one header Cart-Token exactly as the API returned it, or omit the header.")
        };
        let mut tokens = parts.headers.get_all("cart-token").iter();
        match (tokens.next(), tokens.next()) {
            (None, _) => Ok(Self(None)),
            (Some(token), None) => {
                let text = token.to_str().map_err(|_| refused())?;
                let token = CartToken::parse(text).map_err(|_| refused())?;
                Ok(Self(Some(token)))
            }
            (Some(_), Some(_)) => Err(refused()),
        }
    }
}
