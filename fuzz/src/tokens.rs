//! Fuzz target of access tokens in the header Authorization.

use std::sync::LazyLock;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, Request, header},
};
use chrono::DateTime;
use domain::Clock;
use futures::executor::block_on;
use http_server::Bearer;
use tokens::TokenVerifier;

/// The public key of [`VALID_TOKEN`]. Its private key was deleted.
const JWKS: &str = include_str!("../fixtures/jwks.json");

/// The only token that must be accepted.
const VALID_TOKEN: &str = include_str!("../fixtures/valid.jwt");

static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let now = DateTime::from_timestamp(1_800_000_000, 0).expect("the timestamp is in range");
    let clock = Clock::from_fn(move || now);
    TokenVerifier::from_jwks(JWKS, "https://auth.fuzz", "matsuri", clock).expect("the JWKS is valid")
});

/// Only the one signed token is accepted.
pub fn tokens(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut request = Request::new(());
    request.headers_mut().insert(header::AUTHORIZATION, value);
    let (mut parts, ()) = request.into_parts();
    let is_accepted = block_on(Bearer::from_request_parts(&mut parts, &*VERIFIER)).is_ok();
    if is_accepted {
        let text = std::str::from_utf8(bytes).expect("an accepted header is text");
        let (scheme, token) = text
            .split_once(' ')
            .expect("an accepted header has a scheme and a token");
        assert!(scheme.eq_ignore_ascii_case("bearer"));
        assert_eq!(token.trim(), VALID_TOKEN.trim(), "a forged token was accepted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_valid_token_is_accepted() {
        assert!(VERIFIER.verify(VALID_TOKEN.trim()).is_ok());
    }
}
