//! The credential of our own programs: a short-lived token that each signs for itself.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use domain::{Clock, Timestamp, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{Claims, Role};

/// How long a program's token is good for.
const TOKEN_LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// A token this near its end is not sent any more.
const RENEWAL_MARGIN: TimeDelta = TimeDelta::minutes(1);

/// A program's signing key, as Secrets Manager keeps it.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceSigningKey {
    /// By which verifiers find the public half.
    pub kid: String,
    /// Ed25519, PKCS#8, PEM.
    pub private_key_pem: SecretString,
}

/// A signing key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the service signing key is not an Ed25519 key in PEM, or cannot sign")]
pub struct SigningKeyError(#[from] jsonwebtoken::errors::Error);

/// Signs one program's tokens, and keeps each until shortly before its end. Cloning is cheap.
///
/// By Ed25519, because a function signs once in each cold start, of which reading an RSA key and signing with it was a
/// quarter. People's tokens are RS256, which is all that API Gateway verifies; it never sees these.
#[derive(Clone)]
pub struct ServiceTokenIssuer(Arc<Inner>);

struct Inner {
    key: EncodingKey,
    header: Header,
    issuer: String,
    audience: String,
    service_name: String,
    clock: Clock,
    cached_token: Mutex<Option<(String, Timestamp)>>,
}

impl ServiceTokenIssuer {
    /// A signer for the program named `program`.
    pub fn new(
        key: &ServiceSigningKey,
        issuer: &str,
        audience: &str,
        program: &str,
        clock: Clock,
    ) -> Result<Self, SigningKeyError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.kid.clone());
        Ok(Self(Arc::new(Inner {
            key: EncodingKey::from_ed_pem(key.private_key_pem.expose_secret().as_bytes())?,
            header,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            service_name: program.to_owned(),
            clock,
            cached_token: Mutex::new(None),
        })))
    }

    /// A token that is good for at least another minute.
    pub fn token(&self) -> Result<String, SigningKeyError> {
        let Inner {
            key, header, clock, ..
        } = &*self.0;
        let now = clock.now();
        let mut current = self.0.cached_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, ends)) = &*current
            && now < *ends - RENEWAL_MARGIN
        {
            return Ok(token.clone());
        }
        let ends = now + TOKEN_LIFETIME;
        let claims = Claims {
            sub: self.0.service_name.clone(),
            role: Role::Service,
            email: None,
            iss: self.0.issuer.clone(),
            aud: self.0.audience.clone(),
            iat: now.timestamp(),
            exp: ends.timestamp(),
            jti: uuid_v7(now).to_string(),
        };
        let token = encode(header, &claims, key)?;
        *current = Some((token.clone(), ends));
        Ok(token)
    }
}

impl std::fmt::Debug for ServiceTokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSigner")
            .field("program", &self.0.service_name)
            .finish_non_exhaustive()
    }
}
