//! What a person gets who has signed in.

use serde::Serialize;

use crate::{access_token, refresh_token::RefreshToken};

/// The tokens of a session, as RFC 6749 (5.1) writes them.
#[derive(Serialize)]
pub struct TokenResponse {
    access_token: String,
    refresh_token: String,
    token_type: &'static str,
    /// Seconds for which the access token is good.
    expires_in: i64,
}

impl TokenResponse {
    /// Both tokens of a session.
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
