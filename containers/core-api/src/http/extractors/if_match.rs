//! The `If-Match` header, and the entity tags that it is compared with.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use headers::{ETag, HeaderMapExt, IfMatch};
use http_server::Problem;
use users::Profile;

use crate::catalog::Product;

/// The version that the client read before it decided on a change, from the required `If-Match` header.
#[derive(Clone, Debug)]
pub struct IfMatchHeader(IfMatch);

impl IfMatchHeader {
    /// Returns a 412 problem when the current version is not the one that the client read.
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

/// 412: the resource has changed since the client read it.
pub fn precondition_failed() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "precondition-failed",
        "Precondition failed",
    )
    .detail("The resource has changed since you read it. Read it again and repeat the change.")
}

/// The entity tag of a product: its version number.
pub fn product_etag(product: &Product) -> ETag {
    format!("\"{}\"", product.version)
        .parse()
        .expect("digits in quotes are a valid entity tag")
}

/// The entity tag of an account: the time of its last change, in microseconds.
pub fn profile_etag(profile: &Profile) -> ETag {
    format!("\"{}\"", profile.user.updated_at.timestamp_micros())
        .parse()
        .expect("digits in quotes are a valid entity tag")
}
