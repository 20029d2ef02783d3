//! The `Cart-Token` header.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use http_server::Problem;

use crate::carts::CartToken;

/// The token of an anonymous cart, from the optional `Cart-Token` header.
#[derive(Clone, Debug)]
pub struct CartTokenHeader(pub Option<CartToken>);

impl<S: Send + Sync> FromRequestParts<S> for CartTokenHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let invalid = || {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-cart-token",
                "Invalid cart token",
            )
            .detail("Send one header Cart-Token exactly as the API returned it, or omit the header.")
        };
        let mut values = parts.headers.get_all("cart-token").iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => {
                let text = value.to_str().map_err(|_| invalid())?;
                let token = CartToken::parse(text).map_err(|_| invalid())?;
                Ok(Self(Some(token)))
            }
            (Some(_), Some(_)) => Err(invalid()),
        }
    }
}
