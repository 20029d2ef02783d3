//! Access tokens: verifies user tokens and service tokens, and issues service tokens. [`random_token`] makes
//! the other secrets that clients get: cart tokens, refresh tokens, tickets and links in mails.
//!
//! There are two issuers, each with its own key, and no service trusts both: core-api accepts user tokens,
//! stock-service accepts service tokens. The crate `http-server` extracts tokens from requests.

mod permission;
pub mod random_token;
mod service_token;
mod verifier;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray};

pub use permission::Permission;
pub use service_token::{ServiceSigningKey, ServiceTokenIssuer, SigningKeyError};
pub use verifier::{JwksError, KeyRefreshRequest, TokenError, TokenVerifier};

/// The role of a user or service. It determines the [`Permission`]s.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Places orders.
    Customer,
    /// Helps customers: reads their accounts, changes nothing.
    Support,
    /// Administers products and users.
    Admin,
    /// One of our own services. No user has this role.
    Service,
}

/// The claims of an access token (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Subject: a user's UUID or a service's name.
    pub sub: String,
    /// The role at the time the token was issued.
    pub role: Role,
    /// The user's e-mail address. Service tokens have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// When the token was issued, in seconds since the Unix epoch.
    pub iat: i64,
    /// When the token expires, in seconds since the Unix epoch.
    pub exp: i64,
    /// The token's id.
    pub jti: String,
}
