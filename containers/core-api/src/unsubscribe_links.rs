//! Verifies the links with which customers unsubscribe from order mails.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use domain::{Clock, UserId};
use secrets::{MAX_AGE, Secret, SecretError};
use tokio::sync::OnceCell;
use unsubscribe::UnsubscribeKeys;

/// The verifier. Its keys are read at the first use, so that the service starts without Secrets Manager.
#[derive(Clone, Debug)]
pub struct UnsubscribeLinks {
    keys: Arc<OnceCell<Secret<UnsubscribeKeys>>>,
    client: Client,
    secret_name: String,
    clock: Clock,
}

impl UnsubscribeLinks {
    /// Verifies links with the keys in the secret `secret_name`.
    #[must_use]
    pub fn new(client: Client, secret_name: String, clock: Clock) -> Self {
        Self {
            keys: Arc::default(),
            client,
            secret_name,
            clock,
        }
    }

    /// The account of a link's token. `None` if the token is invalid. Fails when the keys were never read and
    /// cannot be read.
    pub async fn verify(&self, token: &str) -> Result<Option<UserId>, SecretError> {
        let keys = self.keys.get_or_try_init(|| {
            let (client, name) = (self.client.clone(), self.secret_name.clone());
            Secret::load(client, name, MAX_AGE, self.clock.clone(), |text| {
                Ok(UnsubscribeKeys::parse(text)?)
            })
        });
        Ok(keys.await?.current().await.verify(token))
    }
}
