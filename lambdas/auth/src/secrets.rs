//! Secrets Manager, as far as it is read.

use aws_sdk_secretsmanager::{Client, error::DisplayErrorContext};
use secrecy::SecretString;

/// Where secrets are read. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Secrets(Client);

/// A secret that a function cannot do without.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager refused or did not answer.
    #[error("the secret {name} cannot be read: {reason}")]
    Unreadable {
        /// Its name.
        name: String,
        /// The whole story.
        reason: String,
    },
    /// It holds no text.
    #[error("the secret {0} holds no text")]
    NoText(String),
}

impl Secrets {
    /// The secrets that `client` reaches.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The text of a secret.
    pub async fn read(&self, name: &str) -> Result<SecretString, SecretError> {
        let answer = self.0.get_secret_value().secret_id(name).send().await;
        let answer = answer.map_err(|error| SecretError::Unreadable {
            name: name.to_owned(),
            reason: DisplayErrorContext(error).to_string(),
        })?;
        answer
            .secret_string
            .map(SecretString::from)
            .ok_or_else(|| SecretError::NoText(name.to_owned()))
    }
}
