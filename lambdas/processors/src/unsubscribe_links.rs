//! The links with which customers unsubscribe from order mails.

use aws_sdk_secretsmanager::Client;
use domain::UserId;
use lambda_shared::{FunctionContext, InitError};
use secrets::{MAX_AGE, Secret};
use unsubscribe::UnsubscribeKeys;

/// Signs links.
#[derive(Clone, Debug)]
pub struct UnsubscribeLinks {
    keys: Secret<UnsubscribeKeys>,
    /// The URL of the route that verifies the links.
    url: String,
}

impl UnsubscribeLinks {
    /// Reads the keys in the secret `UNSUBSCRIBE_KEYS_SECRET`. The links lead to `UNSUBSCRIBE_URL`.
    pub async fn from_context(context: &FunctionContext) -> Result<Self, InitError> {
        let name = context.environment.required("UNSUBSCRIBE_KEYS_SECRET")?;
        let client = Client::new(&context.aws);
        let keys = Secret::load(client, name, MAX_AGE, context.clock.clone(), |text| {
            Ok(UnsubscribeKeys::parse(text)?)
        });
        Ok(Self {
            keys: keys.await?,
            url: context.environment.required("UNSUBSCRIBE_URL")?,
        })
    }

    /// The link that unsubscribes this account. The token needs no escaping: it is base64url.
    pub async fn for_user(&self, user_id: UserId) -> String {
        format!("{}?token={}", self.url, self.keys.current().await.sign(user_id))
    }
}
