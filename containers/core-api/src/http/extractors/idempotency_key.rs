//! The `Idempotency-Key` header.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use http_server::Problem;

/// The key by which the API recognises a repeated request: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let required = || {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "idempotency-key-required",
                "Idempotency-Key header required",
            )
            .detail("Send one header Idempotency-Key with 1 to 255 printable ASCII characters.")
        };
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(required());
        };
        // `to_str` accepts visible ASCII, spaces and tabs.
        match key.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) && !key.contains('\t') => Ok(Self(key.to_owned())),
            _ => Err(required()),
        }
    }
}
