//! Verifying a token against its issuer's public keys.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use domain::Clock;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use moka::sync::Cache;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::Claims;

/// How far the clocks of two machines may be apart, in seconds.
const CLOCK_LEEWAY_SECONDS: i64 = 30;

/// Longer than any token of ours; what is longer is not looked at.
const MAX_TOKEN_BYTES: usize = 4096;

/// How many tokens are recognised without checking their signature again, of 4 KiB at most each.
const VERIFIED_TOKENS_CAPACITY: u64 = 1000;

/// How many may wait at once for keys to be read again. Whoever comes on top of them is refused at once.
const MAX_PENDING_KEY_REFRESHES: usize = 64;

/// How long each of them waits at most.
const KEY_REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// Knows an issuer's keys, and with each the one algorithm that it is for: RS256 or EdDSA. The token has no say in that.
/// Cloning is cheap.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Inner>);

struct Inner {
    keys: RwLock<HashMap<String, VerificationKey>>,
    /// What is asked of a token by any key.
    validation: Validation,
    clock: Clock,
    /// What tokens say whose signature, issuer and audience were right: the same text says the same again, and a
    /// program comes with one token for minutes. Time is asked each time.
    verified_tokens: Cache<String, Claims>,
    /// Where the keys are asked for again, if somebody reads them.
    key_refresh: Option<mpsc::Sender<KeyRefreshRequest>>,
}

struct VerificationKey {
    algorithm: Algorithm,
    decoding_key: DecodingKey,
}

/// Somebody's wish that the keys be read again: answered, or dropped, when they were or will not be.
pub type KeyRefreshRequest = oneshot::Sender<()>;

/// Why a token opens nothing. The bearer is told no more than that it is invalid or has expired.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over, or has not come.
    #[error("the access token has expired")]
    Expired,
    /// No key of this issuer has been read yet, so that nothing can be said of any token.
    #[error("the keys that verify access tokens are not here yet")]
    NoKeys,
    /// It names a key that is not among the issuer's, or not yet.
    #[error("the access token is signed by an unknown key")]
    UnknownKey,
    /// Everything else.
    #[error("the access token is not valid")]
    Invalid,
}

/// A key set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Not a JWK set.
    #[error("the key set is not valid JSON of RFC 7517")]
    Malformed(#[from] serde_json::Error),
    /// A key in it cannot be used.
    #[error("key {kid} verifies neither RS256 nor EdDSA")]
    UnusableKey {
        /// The key's id.
        kid: String,
        /// What is wrong with it.
        #[source]
        source: Option<jsonwebtoken::errors::Error>,
    },
    /// Without a key nobody could come in.
    #[error("the key set holds no key with an id")]
    Empty,
}

impl TokenVerifier {
    /// A verifier of tokens that `issuer` makes for `audience` with one of the keys in `jwks` (RFC 7517).
    pub fn from_jwks(jwks: &str, issuer: &str, audience: &str, clock: Clock) -> Result<Self, JwksError> {
        Ok(Self::new(parse_jwks(jwks)?, issuer, audience, clock, None))
    }

    /// A verifier of an issuer whose keys change: it has none yet, and wishes for them here when a token names one that it
    /// does not know. Whoever reads them hands them over by [`Self::replace_keys`].
    #[must_use]
    pub fn with_key_refresh(
        issuer: &str,
        audience: &str,
        clock: Clock,
    ) -> (Self, mpsc::Receiver<KeyRefreshRequest>) {
        let (reader, wishes) = mpsc::channel(MAX_PENDING_KEY_REFRESHES);
        (
            Self::new(HashMap::new(), issuer, audience, clock, Some(reader)),
            wishes,
        )
    }

    fn new(
        keys: HashMap<String, VerificationKey>,
        issuer: &str,
        audience: &str,
        clock: Clock,
        reader: Option<mpsc::Sender<KeyRefreshRequest>>,
    ) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        // Each key brings its own.
        validation.algorithms.clear();
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Time is ours to ask for, below.
        validation.validate_exp = false;
        Self(Arc::new(Inner {
            keys: RwLock::new(keys),
            validation,
            clock,
            verified_tokens: Cache::new(VERIFIED_TOKENS_CAPACITY),
            key_refresh: reader,
        }))
    }

    /// Whether there are keys at all.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self
            .0
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Takes the issuer's keys of today. Tokens signed by a key that is gone are not recognised any more.
    pub fn replace_keys(&self, jwks: &str) -> Result<(), JwksError> {
        let keys = parse_jwks(jwks)?;
        let mut current = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let gone = current.keys().any(|kid| !keys.contains_key(kid));
        *current = keys;
        if gone {
            self.0.verified_tokens.invalidate_all();
        }
        Ok(())
    }

    /// As [`Self::verify`], but a token whose key is not known waits a moment until the keys have been read again.
    pub async fn verify_with_refresh(&self, token: &str) -> Result<Claims, TokenError> {
        match (self.verify(token), &self.0.key_refresh) {
            (Err(TokenError::UnknownKey | TokenError::NoKeys), Some(reader)) => {
                let (wish, done) = oneshot::channel();
                if reader.try_send(wish).is_ok() {
                    // Read or not: what is known then decides.
                    let _ = timeout(KEY_REFRESH_TIMEOUT, done).await;
                }
                self.verify(token)
            }
            (answer, _) => answer,
        }
    }

    /// What the token says, once its signature, issuer, audience and time have been found right.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let claims = match self.0.verified_tokens.get(token) {
            Some(claims) => claims,
            None => self.0.verify_signature(token)?,
        };
        let now = self.0.clock.now().timestamp();
        if now >= claims.exp.saturating_add(CLOCK_LEEWAY_SECONDS) {
            return Err(TokenError::Expired);
        }
        // A token from the future comes from a clock, or a signer, that is not to be believed.
        if claims.iat > now + CLOCK_LEEWAY_SECONDS {
            return Err(TokenError::Invalid);
        }
        Ok(claims)
    }
}

impl Inner {
    /// Checks all but the time, which changes.
    fn verify_signature(&self, token: &str) -> Result<Claims, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        // Held until the token is recognised, so that a key that goes meanwhile takes it along.
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.is_empty() {
            return Err(TokenError::NoKeys);
        }
        let key = keys.get(&kid).ok_or(TokenError::UnknownKey)?;
        let validation = Validation {
            algorithms: vec![key.algorithm],
            ..self.validation.clone()
        };
        let claims = decode::<Claims>(token, &key.decoding_key, &validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        self.verified_tokens.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }
}

/// The keys of a set, by their ids.
fn parse_jwks(jwks: &str) -> Result<HashMap<String, VerificationKey>, JwksError> {
    let set: JwkSet = serde_json::from_str(jwks)?;
    let mut keys = HashMap::new();
    for jwk in set.keys {
        let Some(kid) = jwk.common.key_id.clone() else {
            continue;
        };
        let unusable = |source| JwksError::UnusableKey {
            kid: kid.clone(),
            source,
        };
        let key = VerificationKey {
            algorithm: algorithm_of(&jwk).ok_or_else(|| unusable(None))?,
            decoding_key: DecodingKey::from_jwk(&jwk).map_err(|error| unusable(Some(error)))?,
        };
        keys.insert(kid, key);
    }
    if keys.is_empty() {
        return Err(JwksError::Empty);
    }
    Ok(keys)
}

/// What a key is for.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Some(Algorithm::EdDSA)
        }
        _ => None,
    }
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}
