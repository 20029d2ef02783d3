//! Secrets Manager, as far as it is read.

use aws_sdk_secretsmanager::{Client, error::DisplayErrorContext};
use secrecy::SecretString;

/// Where secrets are read. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct SecretsManager(Client);

/// A secret that a function cannot do without.
#[derive(Debug, thiserror::Error)]
pub enum ReadSecretError {
    /// Secrets Manager refused or did not answer.
    #[error("the secret {name} cannot be read: {reason}")]
    ReadFailed {
        /// Its name.
        name: String,
        /// The whole story.
        reason: String,
    },
    /// It holds no text.
    #[error("the secret {0} holds no text")]
    NotText(String),
}

impl SecretsManager {
    /// The secrets that `client` reaches.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The text of a secret.
    pub async fn read(&self, name: &str) -> Result<SecretString, ReadSecretError> {
        let answer = self.0.get_secret_value().secret_id(name).send().await;
        let answer = answer.map_err(|error| ReadSecretError::ReadFailed {
            name: name.to_owned(),
            reason: DisplayErrorContext(error).to_string(),
        })?;
        answer
            .secret_string
            .map(SecretString::from)
            .ok_or_else(|| ReadSecretError::NotText(name.to_owned()))
    }
}
