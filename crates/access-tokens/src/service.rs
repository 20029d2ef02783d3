//! The credential of our own programs: a short-lived token that each signs for itself.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use domain::{Clock, Timestamp, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{Claims, Role};

/// How long a program's token is good for.
const LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// A token this near its end is not sent any more.
const RENEW_BEFORE: TimeDelta = TimeDelta::minutes(1);

/// A program's signing key, as Secrets Manager keeps it.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceKey {
    /// By which verifiers find the public half.
    pub kid: String,
    /// Ed25519, PKCS#8, PEM.
    pub private_key_pem: SecretString,
}

/// A signing key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the service signing key is not an Ed25519 key in PEM, or cannot sign")]
pub struct InvalidSigningKey(#[from] jsonwebtoken::errors::Error);

/// Signs one program's tokens, and keeps each until shortly before its end. Cloning is cheap.
///
/// By Ed25519, because a function signs once in each cold start, of which reading an RSA key and signing with it was a
/// quarter. People's tokens are RS256, which is all that API Gateway verifies; it never sees these.
#[derive(Clone)]
pub struct ServiceSigner(Arc<Signer>);

struct Signer {
    key: EncodingKey,
    header: Header,
    issuer: String,
    audience: String,
    program: String,
    clock: Clock,
    current: Mutex<Option<(String, Timestamp)>>,
}

impl ServiceSigner {
    /// A signer for the program named `program`.
    pub fn new(
        key: &ServiceKey,
        issuer: &str,
        audience: &str,
        program: &str,
        clock: Clock,
    ) -> Result<Self, InvalidSigningKey> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.kid.clone());
        Ok(Self(Arc::new(Signer {
            key: EncodingKey::from_ed_pem(key.private_key_pem.expose_secret().as_bytes())?,
            header,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            program: program.to_owned(),
            clock,
            current: Mutex::new(None),
        })))
    }

    /// A token that is good for at least another minute.
    pub fn token(&self) -> Result<String, InvalidSigningKey> {
        let Signer {
            key, header, clock, ..
        } = &*self.0;
        let now = clock.now();
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, ends)) = &*current
            && now < *ends - RENEW_BEFORE
        {
            return Ok(token.clone());
        }
        let ends = now + LIFETIME;
        let claims = Claims {
            sub: self.0.program.clone(),
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

impl std::fmt::Debug for ServiceSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSigner")
            .field("program", &self.0.program)
            .finish_non_exhaustive()
    }
}
