//! The response body of a sign-in and of a refresh.

use serde::Serialize;
use utoipa::ToSchema;

use super::RefreshToken;
use crate::access_token;

/// The tokens of a session, in the format of RFC 6749, section 5.1.
#[derive(Serialize, ToSchema)]
pub struct TokenResponse {
    access_token: String,
    refresh_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// The lifetime of the access token in seconds.
    expires_in: i64,
}

impl TokenResponse {
    #[must_use]
    pub fn new(access_token: String, refresh_token: RefreshToken) -> Self {
        Self {
            access_token,
            refresh_token: refresh_token.into_string(),
            token_type: "Bearer",
            expires_in: access_token::LIFETIME.num_seconds(),
        }
    }
}
