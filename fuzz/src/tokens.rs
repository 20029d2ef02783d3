//! Tokens, as they come in an Authorization header.

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

/// The public half of a key whose private half signed [`GOOD`] and is gone.
const JWKS: &str = include_str!("../fixtures/jwks.json");

/// A token that opens the door.
const VALID_TOKEN: &str = include_str!("../fixtures/good.jwt");

static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let now = DateTime::from_timestamp(1_800_000_000, 0).expect("2027 can be told");
    let clock = Clock::from_fn(move || now);
    TokenVerifier::from_jwks(JWKS, "https://auth.fuzz", "matsuri", clock).expect("the key is one")
});

/// Nothing opens the door but the one token that was signed.
pub fn tokens(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut request = Request::new(());
    request.headers_mut().insert(header::AUTHORIZATION, value);
    let (mut parts, ()) = request.into_parts();
    let opened = block_on(Bearer::from_request_parts(&mut parts, &*VERIFIER)).is_ok();
    if opened {
        let text = std::str::from_utf8(bytes).expect("a header that was read is text");
        let (scheme, token) = text.split_once(' ').expect("a scheme and a token");
        assert!(scheme.eq_ignore_ascii_case("bearer"));
        assert_eq!(token.trim(), VALID_TOKEN.trim(), "a token that nobody signed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_good_token_is_good() {
        assert!(VERIFIER.verify(VALID_TOKEN.trim()).is_ok());
    }
}
