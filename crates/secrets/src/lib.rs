//! Secrets of AWS Secrets Manager, cached for minutes, so that a rotated secret takes effect without a
//! restart.
//!
//! A process reads a secret again when its copy has reached the maximum age, and when the system that the
//! secret is for refuses it ([`Secret::read_again`]). A rotation that keeps the old secret valid for the
//! maximum age is never noticed; without such an overlap, a refused call reads the new secret and is
//! repeated once.

use std::{fmt, sync::Arc};

use aws_sdk_secretsmanager::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::get_secret_value::GetSecretValueError,
};
use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

/// The usual maximum age: every process uses a changed secret within this time.
pub const MAX_AGE: TimeDelta = TimeDelta::minutes(5);

/// A secret and the parser of its text. Clones share the cache.
pub struct Secret<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// `None` for a fixed value.
    source: Option<Source<T>>,
    /// The lock is held during a read, so that concurrent uses of an old secret read it once.
    cached: Mutex<Cached<T>>,
}

struct Source<T> {
    client: Client,
    name: String,
    max_age: TimeDelta,
    clock: Clock,
    parse: Parser<T>,
}

type Parser<T> = Box<dyn Fn(&SecretString) -> Result<T, InvalidSecret> + Send + Sync>;

struct Cached<T> {
    text: SecretString,
    value: Arc<T>,
    read_at: Timestamp,
}

/// The text of a secret does not have the expected format. The message must not contain the text.
pub type InvalidSecret = Box<dyn std::error::Error + Send + Sync>;

/// A secret cannot be used. No message contains the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The message contains the whole source chain, because `Display` of an SDK error omits its cause.
    #[error("the secret {name} cannot be read: {}", DisplayErrorContext(&**source))]
    ReadFailed {
        name: String,
        source: Box<SdkError<GetSecretValueError>>,
    },
    #[error("the secret {0} holds binary data instead of text")]
    NotText(String),
    #[error("the secret {name} is invalid")]
    Invalid { name: String, source: InvalidSecret },
}

impl<T> Secret<T> {
    /// Reads the secret. Fails when it cannot be read or parsed.
    pub async fn load(
        client: Client,
        name: String,
        max_age: TimeDelta,
        clock: Clock,
        parse: impl Fn(&SecretString) -> Result<T, InvalidSecret> + Send + Sync + 'static,
    ) -> Result<Self, SecretError> {
        let source = Source {
            client,
            name,
            max_age,
            clock,
            parse: Box::new(parse),
        };
        let read_at = source.clock.now();
        let text = source.read().await?;
        let cached = Mutex::new(Cached {
            value: Arc::new(source.parse(&text)?),
            text,
            read_at,
        });
        Ok(Self(Arc::new(Inner {
            source: Some(source),
            cached,
        })))
    }

    /// A value that never changes.
    pub fn fixed(value: T) -> Self {
        let cached = Mutex::new(Cached {
            text: SecretString::default(),
            value: Arc::new(value),
            read_at: Timestamp::UNIX_EPOCH,
        });
        Self(Arc::new(Inner { source: None, cached }))
    }

    /// Whether the value never changes.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.0.source.is_none()
    }

    /// The secret, read again when the cached one has reached the maximum age. While it cannot be read, the
    /// cached one: an outage of Secrets Manager must not stop what still works.
    pub async fn current(&self) -> Arc<T> {
        let mut cached = self.0.cached.lock().await;
        if let Some(source) = &self.0.source
            && source.clock.now() - cached.read_at >= source.max_age
        {
            source.update(&mut cached).await;
        }
        Arc::clone(&cached.value)
    }

    /// Reads the secret again because `refused`, which [`Self::current`] returned, was refused. Returns
    /// `None` when the secret is still the same: a repetition would be refused again.
    pub async fn read_again(&self, refused: &Arc<T>) -> Option<Arc<T>> {
        let mut cached = self.0.cached.lock().await;
        // A concurrent call may have read it already.
        if let Some(source) = &self.0.source
            && Arc::ptr_eq(&cached.value, refused)
        {
            source.update(&mut cached).await;
        }
        (!Arc::ptr_eq(&cached.value, refused)).then(|| Arc::clone(&cached.value))
    }
}

impl<T> Source<T> {
    /// Reads the secret. Keeps the cached value when the text is the same, or when it cannot be used.
    async fn update(&self, cached: &mut Cached<T>) {
        let now = self.clock.now();
        match self.read_changed(&cached.text).await {
            Ok(changed) => {
                cached.read_at = now;
                if let Some((text, value)) = changed {
                    tracing::info!(secret_name = self.name, "the secret has changed");
                    (cached.text, cached.value) = (text, Arc::new(value));
                }
            }
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(
                    error,
                    "a secret cannot be read again; the cached one stays in use"
                );
            }
        }
    }

    async fn read_changed(&self, cached: &SecretString) -> Result<Option<(SecretString, T)>, SecretError> {
        let text = self.read().await?;
        if text.expose_secret() == cached.expose_secret() {
            return Ok(None);
        }
        let value = self.parse(&text)?;
        Ok(Some((text, value)))
    }

    async fn read(&self) -> Result<SecretString, SecretError> {
        let response = self.client.get_secret_value().secret_id(&self.name).send().await;
        let response = response.map_err(|error| SecretError::ReadFailed {
            name: self.name.clone(),
            source: Box::new(error),
        })?;
        response
            .secret_string
            .map(SecretString::from)
            .ok_or_else(|| SecretError::NotText(self.name.clone()))
    }

    fn parse(&self, text: &SecretString) -> Result<T, SecretError> {
        (self.parse)(text).map_err(|source| SecretError::Invalid {
            name: self.name.clone(),
            source,
        })
    }
}

impl<T> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.source.as_ref().map(|source| &source.name);
        f.debug_struct("Secret")
            .field("name", &name)
            .finish_non_exhaustive()
    }
}
