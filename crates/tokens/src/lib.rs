//! Access tokens: verifying everybody's, and issuing those of our own programs.
//!
//! There are two issuers with a key each, and nothing trusts both: people's tokens open core-api, our own
//! programs' tokens open stock-service. How a token reaches a handler is the crate `web`'s business.

mod permission;
mod service_token;
mod verifier;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use permission::Permission;
pub use service_token::{ServiceSigningKey, ServiceTokenIssuer, SigningKeyError};
pub use verifier::{JwksError, KeyRefreshRequest, TokenError, TokenVerifier};

/// What the one who asks may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Customer,
    /// Helps customers: sees what is theirs, changes nothing.
    Support,
    /// Runs the shop.
    Admin,
    /// Is one of our own programs.
    Service,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Customer => "customer",
            Self::Support => "support",
            Self::Admin => "admin",
            Self::Service => "service",
        })
    }
}

/// What a verified token says of its bearer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who: a person's UUID or a program's name.
    pub sub: String,
    /// What they may do.
    pub role: Role,
    /// Where mail reaches a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Who issued the token.
    pub iss: String,
    /// What it is for.
    pub aud: String,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// The token's own id.
    pub jti: String,
}
