//! The keys that people's tokens are signed with, from Secrets Manager.
//!
//! A new key is published before it signs and an old one after it has signed its last, so that those who verify
//! know each key before they meet it: the newest signs whose `signs_from` has come, and all are published.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::secrets_manager::{ReadSecretError, SecretsManager};

/// After so long the keys are read again, unless it is configured: within it every process knows of a change.
pub const CACHE_TTL: TimeDelta = TimeDelta::minutes(5);

/// The keys, as they are now.
pub struct SigningKeys {
    keys: Vec<SigningKey>,
}

/// A key of the ring.
pub struct SigningKey {
    /// By which verifiers find the public half.
    pub kid: String,
    /// The private half.
    pub encoding_key: EncodingKey,
    active_from: Timestamp,
    public_jwk: Jwk,
}

/// What the secret holds.
#[derive(Deserialize)]
struct StoredKeys {
    keys: Vec<StoredKey>,
}

#[derive(Deserialize)]
struct StoredKey {
    kid: String,
    private_key_pem: SecretString,
    signs_from: Timestamp,
}

/// Keys that cannot be used. It says nothing of what they hold.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeysError {
    /// See [`SecretError`].
    #[error(transparent)]
    Secret(#[from] ReadSecretError),
    /// Not the secret that it should be. The parser's words may quote it, so they are not told.
    #[error(r#"the signing keys are not {{"keys":[{{"kid","private_key_pem","signs_from"}}]}}"#)]
    Malformed,
    /// A key is none.
    #[error("the signing key {kid} is not an RSA key in PEM")]
    InvalidKey {
        /// Which.
        kid: String,
        /// What is wrong with it.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
    /// Nobody could sign in.
    #[error("no signing key's time has come")]
    NoActiveKey,
}

/// The keys in Secrets Manager, read again from time to time. Cloning is cheap.
#[derive(Clone)]
pub struct CachedSigningKeys(Arc<Inner>);

struct Inner {
    secrets_manager: SecretsManager,
    secret_name: String,
    cache_ttl: TimeDelta,
    clock: Clock,
    cached: Mutex<(Arc<SigningKeys>, Timestamp)>,
}

impl SigningKeys {
    /// The keys that the secret's text holds.
    pub fn parse(secret: &SecretString) -> Result<Self, SigningKeysError> {
        let kept: StoredKeys =
            serde_json::from_str(secret.expose_secret()).map_err(|_| SigningKeysError::Malformed)?;
        let keys = kept.keys.into_iter().map(SigningKey::try_from);
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    /// The key that signs now.
    pub fn active_key(&self, now: Timestamp) -> Result<&SigningKey, SigningKeysError> {
        self.keys
            .iter()
            .filter(|key| key.active_from <= now)
            .max_by_key(|key| key.active_from)
            .ok_or(SigningKeysError::NoActiveKey)
    }

    /// The public halves of all keys (RFC 7517).
    #[must_use]
    pub fn jwk_set(&self) -> JwkSet {
        JwkSet {
            keys: self.keys.iter().map(|key| key.public_jwk.clone()).collect(),
        }
    }
}

impl CachedSigningKeys {
    /// The keys in the secret named `name`, read at once, and again when they are as old as `fresh`.
    pub async fn load(
        secrets: SecretsManager,
        name: String,
        fresh: TimeDelta,
        clock: Clock,
    ) -> Result<Self, SigningKeysError> {
        let ring = SigningKeys::parse(&secrets.read(&name).await?)?;
        let now = clock.now();
        ring.active_key(now)?;
        Ok(Self(Arc::new(Inner {
            secrets_manager: secrets,
            secret_name: name,
            cache_ttl: fresh,
            clock,
            cached: Mutex::new((Arc::new(ring), now)),
        })))
    }

    /// The keys, not older than they may be. While they cannot be read, those that were read last.
    pub async fn current(&self) -> Arc<SigningKeys> {
        let now = self.0.clock.now();
        let (ring, read_at) = self
            .0
            .cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if now - read_at < self.0.cache_ttl {
            return ring;
        }
        match self.reload().await {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                *self.0.cached.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::clone(&fresh), now);
                fresh
            }
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(
                    error,
                    "the signing keys cannot be read again, the ones from before serve on"
                );
                ring
            }
        }
    }

    async fn reload(&self) -> Result<SigningKeys, SigningKeysError> {
        SigningKeys::parse(&self.0.secrets_manager.read(&self.0.secret_name).await?)
    }
}

impl TryFrom<StoredKey> for SigningKey {
    type Error = SigningKeysError;

    fn try_from(kept: StoredKey) -> Result<Self, SigningKeysError> {
        let wrong = |source| SigningKeysError::InvalidKey {
            kid: kept.kid.clone(),
            source,
        };
        let private =
            EncodingKey::from_rsa_pem(kept.private_key_pem.expose_secret().as_bytes()).map_err(wrong)?;
        let mut public = Jwk::from_encoding_key(&private, Algorithm::RS256).map_err(wrong)?;
        public.common.key_id = Some(kept.kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            encoding_key: private,
            active_from: kept.signs_from,
            public_jwk: public,
            kid: kept.kid,
        })
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.kid))
            .finish()
    }
}

impl std::fmt::Debug for CachedSigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("name", &self.0.secret_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::private_key_pem;

    fn signing_keys(keys: &[(&str, i64)]) -> SigningKeys {
        let at = |seconds| Timestamp::from_timestamp(seconds, 0).unwrap();
        let keys: Vec<_> = keys
            .iter()
            .map(|(kid, from)| json!({"kid": kid, "private_key_pem": private_key_pem(), "signs_from": at(*from)}))
            .collect();
        SigningKeys::parse(&json!({"keys": keys}).to_string().into()).unwrap()
    }

    #[test]
    fn the_newest_whose_time_has_come_signs_and_all_are_published() {
        let ring = signing_keys(&[("old", 0), ("next", 300), ("now", 100)]);
        let signing = |seconds| {
            let now = Timestamp::from_timestamp(seconds, 0).unwrap();
            ring.active_key(now).map(|key| key.kid.clone())
        };
        assert_eq!(signing(99).unwrap(), "old");
        assert_eq!(signing(100).unwrap(), "now");
        assert_eq!(signing(299).unwrap(), "now");
        assert_eq!(signing(300).unwrap(), "next");
        assert!(matches!(signing(-1), Err(SigningKeysError::NoActiveKey)));

        let published = serde_json::to_value(ring.jwk_set()).unwrap();
        let kids: Vec<_> = published["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| &key["kid"])
            .collect();
        assert_eq!(kids, ["old", "next", "now"]);
        let key = &published["keys"][0];
        assert_eq!(
            (&key["kty"], &key["alg"], &key["use"], &key["e"]),
            (&json!("RSA"), &json!("RS256"), &json!("sig"), &json!("AQAB"))
        );
        let private = ["d", "p", "q", "dp", "dq", "qi", "private_key_pem"];
        assert!(private.iter().all(|member| key.get(member).is_none()), "{key}");
    }

    #[test]
    fn what_is_wrong_with_the_keys_is_told_without_showing_them() {
        for text in [
            "hunter2",
            r#"{"keys":"hunter2"}"#,
            r#"{"keys":[{"kid":"k","signs_from":"hunter2"}]}"#,
        ] {
            let error = SigningKeys::parse(&text.to_owned().into()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let no_pem = json!({"keys": [{"kid": "k1", "private_key_pem": "hunter2", "signs_from": Timestamp::UNIX_EPOCH}]});
        let error = SigningKeys::parse(&no_pem.to_string().into()).unwrap_err();
        assert_eq!(error.to_string(), "the signing key k1 is not an RSA key in PEM");
    }
}
