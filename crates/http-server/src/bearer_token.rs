//! Authenticates a request by the bearer token in its `Authorization` header (RFC 6750).

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
};
use tokens::{Claims, TokenError, TokenVerifier};

use crate::Problem;

/// Extracts the claims of a valid access token. Rejects a request without one with 401.
#[derive(Clone, Debug)]
pub struct Bearer(pub Claims);

impl Bearer {
    /// 401 for a valid token that no longer grants access, for example because its account was deleted. The
    /// response is the same as for an invalid token.
    #[must_use]
    pub fn unauthorized() -> Problem {
        invalid_token(TokenError::Invalid)
    }
}

impl<S> FromRequestParts<S> for Bearer
where
    S: Send + Sync,
    TokenVerifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer_token(&parts.headers).ok_or_else(missing_token)?;
        TokenVerifier::from_ref(state)
            .verify_with_refresh(token)
            .await
            .map(Self)
            .map_err(invalid_token)
    }
}

/// The bearer token of a request, not yet verified.
#[must_use]
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION)?;
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn missing_token() -> Problem {
    unauthorized_problem("Send an access token: Authorization: Bearer …", "Bearer")
}

fn invalid_token(error: TokenError) -> Problem {
    match error {
        TokenError::Expired => unauthorized_problem(
            "The access token has expired. Refresh it.",
            r#"Bearer error="invalid_token", error_description="expired""#,
        ),
        TokenError::NoKeys => Problem::unavailable(),
        TokenError::UnknownKey | TokenError::Invalid => unauthorized_problem(
            "The access token is not valid for this API.",
            r#"Bearer error="invalid_token""#,
        ),
    }
}

fn unauthorized_problem(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
        .detail(detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
