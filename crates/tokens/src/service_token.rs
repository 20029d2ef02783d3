//! Service tokens: short-lived access tokens that each of our own services signs for its calls to other
//! services.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use domain::{Clock, Timestamp, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{Claims, Role};

const TOKEN_LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// A token that expires within this time is replaced before it is used again.
const RENEWAL_MARGIN: TimeDelta = TimeDelta::minutes(1);

/// A service's private signing key, in the format of the secret in Secrets Manager.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceSigningKey {
    /// The key id under which verifiers find the public key.
    pub kid: String,
    /// An Ed25519 key in PKCS#8, PEM-encoded.
    pub private_key_pem: SecretString,
}

#[derive(Debug, thiserror::Error)]
#[error("the service signing key is not an Ed25519 private key in PEM format, or signing failed")]
pub struct SigningKeyError(#[from] jsonwebtoken::errors::Error);

/// Issues the tokens of one service, and reuses each token until shortly before it expires. Cloning is cheap.
///
/// Signs with Ed25519: a function signs once in each cold start, and parsing an RSA key and signing with it
/// took a quarter of that time. User tokens are RS256, the only algorithm that API Gateway verifies; it never
/// sees service tokens.
#[derive(Clone)]
pub struct ServiceTokenIssuer(Arc<Inner>);

struct Inner {
    key: EncodingKey,
    header: Header,
    issuer: String,
    audience: String,
    service_name: String,
    clock: Clock,
    /// The current token and when it expires.
    cached_token: Mutex<Option<(String, Timestamp)>>,
}

impl ServiceTokenIssuer {
    /// Fails when `key` is not an Ed25519 private key.
    pub fn new(
        key: &ServiceSigningKey,
        issuer: &str,
        audience: &str,
        service_name: &str,
        clock: Clock,
    ) -> Result<Self, SigningKeyError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.kid.clone());
        Ok(Self(Arc::new(Inner {
            key: EncodingKey::from_ed_pem(key.private_key_pem.expose_secret().as_bytes())?,
            header,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            service_name: service_name.to_owned(),
            clock,
            cached_token: Mutex::new(None),
        })))
    }

    /// Returns a token that is valid for at least one more minute.
    pub fn token(&self) -> Result<String, SigningKeyError> {
        let Inner {
            key, header, clock, ..
        } = &*self.0;
        let now = clock.now();
        let mut cached_token = self.0.cached_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, expires_at)) = &*cached_token
            && now < *expires_at - RENEWAL_MARGIN
        {
            return Ok(token.clone());
        }
        let expires_at = now + TOKEN_LIFETIME;
        let claims = Claims {
            sub: self.0.service_name.clone(),
            role: Role::Service,
            email: None,
            iss: self.0.issuer.clone(),
            aud: self.0.audience.clone(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: uuid_v7(now).to_string(),
        };
        let token = encode(header, &claims, key)?;
        *cached_token = Some((token.clone(), expires_at));
        Ok(token)
    }
}

impl std::fmt::Debug for ServiceTokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceTokenIssuer")
            .field("service_name", &self.0.service_name)
            .finish_non_exhaustive()
    }
}
