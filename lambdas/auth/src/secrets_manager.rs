//! Reads secrets from AWS Secrets Manager.

use aws_sdk_secretsmanager::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::get_secret_value::GetSecretValueError,
};
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
