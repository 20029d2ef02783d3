//! What the steps are made of before their first invocation. Each step takes only what it uses.

use aws_sdk_secretsmanager::error::DisplayErrorContext;
use domain::{OrderId, UserId};
use event_publishing::Publisher;
use lambda_shared::{EnvironmentError, FunctionContext, InitError};
use orders::{Orders, Tables};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{OutboxPublisher, payments::stripe::Stripe};

/// Where the payment provider is, unless `PAYMENT_API_URL` says otherwise.
const DEFAULT_PAYMENT_API_URL: &str = "https://api.stripe.com";

/// A secret that a step cannot do without.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
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
    NotText(String),
}

/// The order store, in `ORDERS_TABLE` and `OUTBOX_TABLE`. The connection is made with a read that finds nothing.
pub(crate) async fn order_store(init: &FunctionContext) -> Result<Orders, InitError> {
    let tables = Tables {
        orders: init.environment.required("ORDERS_TABLE")?,
        outbox: init.environment.required("OUTBOX_TABLE")?,
        // For the keys of those who place orders, which no step does.
        idempotency: String::new(),
    };
    let orders = Orders::new(
        aws_sdk_dynamodb::Client::new(&init.aws),
        tables,
        init.clock.clone(),
    );
    orders.find(UserId(Uuid::nil()), OrderId(Uuid::nil())).await?;
    Ok(orders)
}

/// What publishes events, on the bus `EVENT_BUS`.
pub(crate) fn outbox_publisher(
    init: &FunctionContext,
    orders: &Orders,
) -> Result<OutboxPublisher, EnvironmentError> {
    let bus: String = init.environment.required("EVENT_BUS")?;
    let publisher = Publisher::new(aws_sdk_eventbridge::Client::new(&init.aws), bus);
    Ok(OutboxPublisher::new(orders.outbox().clone(), publisher))
}

/// The payment provider at `PAYMENT_API_URL`, with the key in the secret that `PAYMENT_API_KEY_SECRET` names.
pub(crate) async fn payment_provider(init: &FunctionContext) -> Result<Stripe, InitError> {
    let url = init
        .environment
        .optional("PAYMENT_API_URL")?
        .unwrap_or_else(|| DEFAULT_PAYMENT_API_URL.to_owned());
    let secret = init.environment.optional("PAYMENT_API_KEY_SECRET")?;
    let secret = secret.unwrap_or_else(|| "ecommerce/payment-api-key".to_owned());
    Ok(Stripe::new(&url, &read_secret(init, secret).await?)?)
}

/// The text of a secret.
pub(crate) async fn read_secret(init: &FunctionContext, name: String) -> Result<SecretString, SecretError> {
    let secrets = aws_sdk_secretsmanager::Client::new(&init.aws);
    let answer = secrets
        .get_secret_value()
        .secret_id(&name)
        .send()
        .await
        .map_err(|error| {
            let reason = DisplayErrorContext(error).to_string();
            SecretError::Unreadable {
                name: name.clone(),
                reason,
            }
        })?;
    answer
        .secret_string
        .map(SecretString::from)
        .ok_or(SecretError::NotText(name))
}
