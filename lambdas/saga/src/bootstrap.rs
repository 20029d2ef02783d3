//! Creates the clients of the steps during initialisation. Each step creates only the clients that it uses.

use aws_sdk_secretsmanager::error::DisplayErrorContext;
use domain::{OrderId, UserId};
use event_publishing::Publisher;
use lambda_shared::{EnvironmentError, FunctionContext, InitError};
use orders::{Orders, Tables};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{OutboxPublisher, payments::stripe::Stripe};

/// The URL of the payment API when `PAYMENT_API_URL` is not set.
const DEFAULT_PAYMENT_API_URL: &str = "https://api.stripe.com";

/// A required secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("the secret {name} cannot be read: {reason}")]
    Unreadable {
        name: String,
        /// The messages of the SDK error and all its sources.
        reason: String,
    },
    #[error("the secret {0} is binary; expected text")]
    NotText(String),
}

/// The order store in `ORDERS_TABLE` and `OUTBOX_TABLE`. Opens the connection by reading an order that does
/// not exist.
pub(crate) async fn order_store(context: &FunctionContext) -> Result<Orders, InitError> {
    let tables = Tables {
        orders: context.environment.required("ORDERS_TABLE")?,
        outbox: context.environment.required("OUTBOX_TABLE")?,
        // Only placing an order uses this table, and no step places orders.
        idempotency: String::new(),
    };
    let orders = Orders::new(
        aws_sdk_dynamodb::Client::new(&context.aws),
        tables,
        context.clock.clone(),
    );
    orders.find(UserId(Uuid::nil()), OrderId(Uuid::nil())).await?;
    Ok(orders)
}

/// The outbox publisher for the event bus `EVENT_BUS`.
pub(crate) fn outbox_publisher(
    context: &FunctionContext,
    orders: &Orders,
) -> Result<OutboxPublisher, EnvironmentError> {
    let event_bus: String = context.environment.required("EVENT_BUS")?;
    let publisher = Publisher::new(aws_sdk_eventbridge::Client::new(&context.aws), event_bus);
    Ok(OutboxPublisher::new(orders.outbox().clone(), publisher))
}

/// The payment provider at `PAYMENT_API_URL`, with the API key from the secret `PAYMENT_API_KEY_SECRET`.
pub(crate) async fn payment_provider(context: &FunctionContext) -> Result<Stripe, InitError> {
    let url = context
        .environment
        .optional("PAYMENT_API_URL")?
        .unwrap_or_else(|| DEFAULT_PAYMENT_API_URL.to_owned());
    let secret_name = context.environment.optional("PAYMENT_API_KEY_SECRET")?;
    let secret_name = secret_name.unwrap_or_else(|| "ecommerce/payment-api-key".to_owned());
    Ok(Stripe::new(&url, &read_secret(context, secret_name).await?)?)
}

/// Reads a text secret from Secrets Manager.
pub(crate) async fn read_secret(
    context: &FunctionContext,
    name: String,
) -> Result<SecretString, SecretError> {
    let client = aws_sdk_secretsmanager::Client::new(&context.aws);
    let response = client
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
    response
        .secret_string
        .map(SecretString::from)
        .ok_or(SecretError::NotText(name))
}
