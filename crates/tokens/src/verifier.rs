//! Verifies access tokens with the public keys (JWKS) of their issuer.

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

/// How far the clocks of issuer and verifier may differ.
const CLOCK_LEEWAY_SECONDS: i64 = 30;

/// Longer tokens are rejected before parsing. Our own tokens are shorter.
const MAX_TOKEN_BYTES: usize = 4096;

/// How many verified tokens the cache holds, at most 4 KiB each.
const VERIFIED_TOKENS_CAPACITY: u64 = 1000;

/// How many requests may wait for a key refresh at once. Further ones are rejected immediately.
const MAX_PENDING_KEY_REFRESHES: usize = 64;

/// How long a request waits for a key refresh.
const KEY_REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// Verifies the tokens of one issuer. Each key is bound to one algorithm, RS256 or EdDSA; the token cannot
/// choose it. Cloning is cheap.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Inner>);

struct Inner {
    keys: RwLock<HashMap<String, VerificationKey>>,
    /// The checks that apply to a token with any key.
    validation: Validation,
    clock: Clock,
    /// The claims of tokens whose signature, issuer and audience were verified, by the token's full text. A
    /// client sends the same token for minutes. Expiry is checked on every use.
    verified_tokens: Cache<String, Claims>,
    /// Sends requests for a key refresh, if the verifier was created with one.
    key_refresh: Option<mpsc::Sender<KeyRefreshRequest>>,
}

struct VerificationKey {
    algorithm: Algorithm,
    decoding_key: DecodingKey,
}

/// A request to read the issuer's keys again. Sending a value reports that they were read; dropping the
/// sender reports that they will not be read now.
pub type KeyRefreshRequest = oneshot::Sender<()>;

/// Why a token was rejected. A response to the client says only that the token is invalid or has expired.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the access token has expired")]
    Expired,
    /// The issuer's keys have not been read yet, so no token can be verified.
    #[error("the issuer's keys are not available yet")]
    NoKeys,
    /// The token names a key that is not in the key set, or was not when it was last read.
    #[error("the access token is signed with an unknown key")]
    UnknownKey,
    /// The token is malformed, or its signature, issuer, audience or time of issue is wrong.
    #[error("the access token is invalid")]
    Invalid,
}

/// The issuer's key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("the key set is not a valid JWK set (RFC 7517)")]
    Malformed(#[from] serde_json::Error),
    #[error("key {kid} in the key set is neither an RSA nor an Ed25519 key, or is malformed")]
    UnusableKey {
        kid: String,
        /// `None` when the key's type is not supported.
        #[source]
        source: Option<jsonwebtoken::errors::Error>,
    },
    #[error("the key set contains no key with a key id")]
    Empty,
}

impl TokenVerifier {
    /// Verifies tokens that `issuer` issues for `audience` and signs with one of the keys in `jwks` (RFC
    /// 7517).
    pub fn from_jwks(jwks: &str, issuer: &str, audience: &str, clock: Clock) -> Result<Self, JwksError> {
        Ok(Self::new(parse_jwks(jwks)?, issuer, audience, clock, None))
    }

    /// A verifier for an issuer that rotates its keys. It starts without keys, and sends a
    /// [`KeyRefreshRequest`] to the returned receiver when a token names an unknown key. The receiver reads
    /// the keys and calls [`Self::replace_keys`].
    #[must_use]
    pub fn with_key_refresh(
        issuer: &str,
        audience: &str,
        clock: Clock,
    ) -> (Self, mpsc::Receiver<KeyRefreshRequest>) {
        let (key_refresh, requests) = mpsc::channel(MAX_PENDING_KEY_REFRESHES);
        (
            Self::new(HashMap::new(), issuer, audience, clock, Some(key_refresh)),
            requests,
        )
    }

    fn new(
        keys: HashMap<String, VerificationKey>,
        issuer: &str,
        audience: &str,
        clock: Clock,
        key_refresh: Option<mpsc::Sender<KeyRefreshRequest>>,
    ) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        // `verify_signature` sets the algorithm of the token's key.
        validation.algorithms.clear();
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // `verify` checks the time with our own clock.
        validation.validate_exp = false;
        Self(Arc::new(Inner {
            keys: RwLock::new(keys),
            validation,
            clock,
            verified_tokens: Cache::new(VERIFIED_TOKENS_CAPACITY),
            key_refresh,
        }))
    }

    /// Whether the issuer's keys have been read.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self
            .0
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Replaces the key set. When a key was removed, tokens verified with it lose their place in the cache.
    pub fn replace_keys(&self, jwks: &str) -> Result<(), JwksError> {
        let keys = parse_jwks(jwks)?;
        let mut current = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let key_removed = current.keys().any(|kid| !keys.contains_key(kid));
        *current = keys;
        if key_removed {
            self.0.verified_tokens.invalidate_all();
        }
        Ok(())
    }

    /// Like [`Self::verify`], but for a token with an unknown key it requests a key refresh and waits, at
    /// most two seconds, before it decides.
    pub async fn verify_with_refresh(&self, token: &str) -> Result<Claims, TokenError> {
        match (self.verify(token), &self.0.key_refresh) {
            (Err(TokenError::UnknownKey | TokenError::NoKeys), Some(key_refresh)) => {
                let (request, done) = oneshot::channel();
                if key_refresh.try_send(request).is_ok() {
                    // Whether or not the refresh succeeded, the keys that are known now decide.
                    let _ = timeout(KEY_REFRESH_TIMEOUT, done).await;
                }
                self.verify(token)
            }
            (result, _) => result,
        }
    }

    /// Verifies signature, issuer, audience, expiry and time of issue, and returns the claims.
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
        // A token from the future means that a clock or the issuer is wrong.
        if claims.iat > now + CLOCK_LEEWAY_SECONDS {
            return Err(TokenError::Invalid);
        }
        Ok(claims)
    }
}

impl Inner {
    /// Verifies signature, issuer and audience, but not the time, and caches the result.
    fn verify_signature(&self, token: &str) -> Result<Claims, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        // The lock is held until the token is in the cache, so that a concurrent `replace_keys` also
        // invalidates it.
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

/// The keys of a JWK set by key id. Skips keys without an id.
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

/// The one algorithm that a key may verify, by its type. Returns `None` for an unsupported type.
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
        f.debug_struct("TokenVerifier").finish_non_exhaustive()
    }
}
