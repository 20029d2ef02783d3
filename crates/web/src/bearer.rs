//! Who is asking: the bearer of a token in `Authorization` (RFC 6750).

use access_tokens::{Claims, InvalidToken, Verifier};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
};

use crate::Problem;

/// The claims of a token that was found valid.
#[derive(Clone, Debug)]
pub struct Bearer(pub Claims);

impl Bearer {
    /// The refusal of a token that is in order and opens nothing any more. It tells no more than that of any other.
    #[must_use]
    pub fn refused() -> Problem {
        invalid(InvalidToken::Invalid)
    }
}

impl<S> FromRequestParts<S> for Bearer
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = token(&parts.headers).ok_or_else(missing)?;
        Verifier::from_ref(state)
            .verify_by_fresh_keys(token)
            .await
            .map(Self)
            .map_err(invalid)
    }
}

/// The token that a request brings, whatever it may be worth.
#[must_use]
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION)?;
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn missing() -> Problem {
    unauthorized("Send an access token: Authorization: Bearer …", "Bearer")
}

fn invalid(error: InvalidToken) -> Problem {
    match error {
        InvalidToken::Expired => unauthorized(
            "The access token has expired. Get a new one.",
            r#"Bearer error="invalid_token", error_description="expired""#,
        ),
        InvalidToken::NoKeys => Problem::unavailable(),
        InvalidToken::UnknownKey | InvalidToken::Invalid => unauthorized(
            "The access token is not valid here.",
            r#"Bearer error="invalid_token""#,
        ),
    }
}

fn unauthorized(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not signed in")
        .detail(detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
