//! Access tokens: what one says, and how long.

use chrono::TimeDelta;
use domain::{Clock, ids::uuid_v7};
use jsonwebtoken::{Algorithm, Header, encode};
use serde::Serialize;
use tokens::Claims;
use users::User;

use crate::signing_keys::{CachedSigningKeys, SigningKeysError};

/// Whom tokens are for: everything of ours that people use.
pub const AUDIENCE: &str = "matsuri";

/// How long a token is good for.
pub const LIFETIME: TimeDelta = TimeDelta::minutes(15);

/// Issues people's tokens. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct UserTokenIssuer {
    signing_keys: CachedSigningKeys,
    issuer: String,
    clock: Clock,
}

/// A token that could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueTokenError {
    /// See [`KeysError`].
    #[error(transparent)]
    SigningKeys(#[from] SigningKeysError),
    /// The key does not sign.
    #[error("an access token could not be signed")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// What a person's token says besides what all tokens say.
#[derive(Serialize)]
struct IssuedClaims {
    #[serde(flatten)]
    claims: Claims,
    email_verified: bool,
}

impl UserTokenIssuer {
    /// Issues in the name of `name`, with `keys`.
    #[must_use]
    pub fn new(signing_keys: CachedSigningKeys, issuer: String, clock: Clock) -> Self {
        Self {
            signing_keys,
            issuer,
            clock,
        }
    }

    /// A token that says who the person is.
    pub async fn issue(&self, user: &User) -> Result<String, IssueTokenError> {
        let ring = self.signing_keys.current().await;
        let now = self.clock.now();
        let key = ring.active_key(now)?;
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(key.kid.clone());
        let claims = IssuedClaims {
            claims: Claims {
                sub: user.id.to_string(),
                role: user.role,
                email: Some(user.email.clone()),
                iss: self.issuer.clone(),
                aud: AUDIENCE.to_owned(),
                iat: now.timestamp(),
                exp: (now + LIFETIME).timestamp(),
                jti: uuid_v7(now).to_string(),
            },
            email_verified: user.email_verified_at.is_some(),
        };
        Ok(encode(&header, &claims, &key.encoding_key)?)
    }
}
