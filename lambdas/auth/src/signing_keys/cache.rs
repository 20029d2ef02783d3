//! Caches the signing keys and reloads them from Secrets Manager.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use domain::{Clock, Timestamp};

use super::{SigningKeys, SigningKeysError};
use crate::secrets_manager::SecretsManager;

/// The default age at which the keys are reloaded. Every process uses changed keys within this time.
pub const CACHE_TTL: TimeDelta = TimeDelta::minutes(5);

/// Clones share the cache.
#[derive(Clone)]
pub struct CachedSigningKeys(Arc<Inner>);

struct Inner {
    secrets_manager: SecretsManager,
    secret_name: String,
    cache_ttl: TimeDelta,
    clock: Clock,
    /// The keys, and when they were loaded.
    cached: Mutex<(Arc<SigningKeys>, Timestamp)>,
}

impl CachedSigningKeys {
    /// Loads the keys. Fails when none of them can sign now.
    pub async fn load(
        secrets_manager: SecretsManager,
        secret_name: String,
        cache_ttl: TimeDelta,
        clock: Clock,
    ) -> Result<Self, SigningKeysError> {
        let signing_keys = SigningKeys::parse(&secrets_manager.read(&secret_name).await?)?;
        let now = clock.now();
        signing_keys.active_key(now)?;
        Ok(Self(Arc::new(Inner {
            secrets_manager,
            secret_name,
            cache_ttl,
            clock,
            cached: Mutex::new((Arc::new(signing_keys), now)),
        })))
    }

    /// The keys, reloaded when the cached ones have reached `cache_ttl`. When the reload fails, the cached
    /// ones.
    pub async fn current(&self) -> Arc<SigningKeys> {
        let now = self.0.clock.now();
        let (cached, loaded_at) = self
            .0
            .cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if now - loaded_at < self.0.cache_ttl {
            return cached;
        }
        match self.reload().await {
            Ok(reloaded) => {
                let reloaded = Arc::new(reloaded);
                *self.0.cached.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::clone(&reloaded), now);
                reloaded
            }
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(
                    error,
                    "the signing keys cannot be reloaded; the cached keys stay in use"
                );
                cached
            }
        }
    }

    async fn reload(&self) -> Result<SigningKeys, SigningKeysError> {
        SigningKeys::parse(&self.0.secrets_manager.read(&self.0.secret_name).await?)
    }
}

impl std::fmt::Debug for CachedSigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedSigningKeys")
            .field("secret_name", &self.0.secret_name)
            .finish_non_exhaustive()
    }
}
