//! Issues access tokens to users (JWT, RS256).

use chrono::TimeDelta;
use domain::{Clock, ids::uuid_v7};
use jsonwebtoken::{Algorithm, Header, encode};
use secrets::Secret;
use serde::Serialize;
use tokens::Claims;
use users::User;

use crate::signing_keys::{SigningKeys, SigningKeysError};

/// The `aud` claim: every API of this system that users call.
pub const AUDIENCE: &str = "matsuri";

pub const LIFETIME: TimeDelta = TimeDelta::minutes(15);

/// Clones share the cached signing keys.
#[derive(Clone, Debug)]
pub struct UserTokenIssuer {
    signing_keys: Secret<SigningKeys>,
    /// The `iss` claim.
    issuer: String,
    clock: Clock,
}

#[derive(Debug, thiserror::Error)]
pub enum IssueTokenError {
    #[error(transparent)]
    SigningKeys(#[from] SigningKeysError),
    #[error("an access token could not be signed")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// The claims of a user's token: [`Claims`] and those that only clients read.
#[derive(Serialize)]
struct IssuedClaims {
    #[serde(flatten)]
    claims: Claims,
    email_verified: bool,
}

impl UserTokenIssuer {
    #[must_use]
    pub fn new(signing_keys: Secret<SigningKeys>, issuer: String, clock: Clock) -> Self {
        Self {
            signing_keys,
            issuer,
            clock,
        }
    }

    pub async fn issue(&self, user: &User) -> Result<String, IssueTokenError> {
        let signing_keys = self.signing_keys.current().await;
        let now = self.clock.now();
        let key = signing_keys.active_key(now)?;
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
