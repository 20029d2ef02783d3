//! Reads secrets from AWS Secrets Manager, and caches those that change while a process runs.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_secretsmanager::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::get_secret_value::GetSecretValueError,
};
use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use lambda_shared::InitError;
use secrecy::SecretString;

#[derive(Clone, Debug)]
pub struct SecretsManager(Client);

#[derive(Debug, thiserror::Error)]
pub enum ReadSecretError {
    /// The message contains the whole source chain, because `Display` of an SDK error omits its cause.
    #[error("the secret {name} cannot be read: {}", DisplayErrorContext(&**source))]
    ReadFailed {
        name: String,
        source: Box<SdkError<GetSecretValueError>>,
    },
    #[error("the secret {0} holds binary data instead of text")]
    NotText(String),
}

impl SecretsManager {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    pub async fn read(&self, name: &str) -> Result<SecretString, ReadSecretError> {
        let response = self.0.get_secret_value().secret_id(name).send().await;
        let response = response.map_err(|error| ReadSecretError::ReadFailed {
            name: name.to_owned(),
            source: Box::new(error),
        })?;
        response
            .secret_string
            .map(SecretString::from)
            .ok_or_else(|| ReadSecretError::NotText(name.to_owned()))
    }
}

/// The age at which a cached secret is read again. Every process uses a changed secret within this time.
pub const CACHE_TTL: TimeDelta = TimeDelta::minutes(5);

/// A parsed secret that is read again when it has reached an age. Clones share the cache.
pub struct CachedSecret<T>(Arc<Inner<T>>);

struct Inner<T> {
    secrets_manager: SecretsManager,
    name: String,
    ttl: TimeDelta,
    parse: fn(&SecretString) -> Result<T, InitError>,
    clock: Clock,
    /// The secret, and when it was read.
    cached: Mutex<(Arc<T>, Timestamp)>,
}

impl<T> CachedSecret<T> {
    pub async fn read(
        secrets_manager: SecretsManager,
        name: String,
        ttl: TimeDelta,
        parse: fn(&SecretString) -> Result<T, InitError>,
        clock: Clock,
    ) -> Result<Self, InitError> {
        let value = parse(&secrets_manager.read(&name).await?)?;
        let cached = Mutex::new((Arc::new(value), clock.now()));
        Ok(Self(Arc::new(Inner {
            secrets_manager,
            name,
            ttl,
            parse,
            clock,
            cached,
        })))
    }

    /// The secret, read again when the cached one has reached its TTL. When that fails, the cached one.
    pub async fn current(&self) -> Arc<T> {
        let now = self.0.clock.now();
        let (cached, read_at) = self
            .0
            .cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if now - read_at < self.0.ttl {
            return cached;
        }
        match self.read_again().await {
            Ok(value) => {
                let value = Arc::new(value);
                *self.0.cached.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::clone(&value), now);
                value
            }
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &*error;
                tracing::error!(
                    error,
                    secret = self.0.name,
                    "the secret cannot be read again; the cached one stays in use"
                );
                cached
            }
        }
    }

    async fn read_again(&self) -> Result<T, InitError> {
        let secret = self.0.secrets_manager.read(&self.0.name).await?;
        (self.0.parse)(&secret)
    }
}

impl<T> Clone for CachedSecret<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> std::fmt::Debug for CachedSecret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedSecret")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}
