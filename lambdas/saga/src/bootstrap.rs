//! Creates the clients of the steps during initialisation. Each step creates only the clients that it uses.

use aws_sdk_dynamodb::Client as DynamoDb;
use event_publishing::{DynamoOutbox, Publisher};
use lambda_shared::{EnvironmentError, FunctionContext, InitError};
use orders::{Orders, OrdersWithOutbox};
use secrecy::SecretString;
use secrets::{InvalidSecret, MAX_AGE, Secret, SecretError};

use crate::{
    OutboxPublisher, StatusPush,
    payments::{rotating_key::RotatingKey, stripe::Stripe},
};

/// The URL of the payment API when `PAYMENT_API_URL` is not set.
const DEFAULT_PAYMENT_API_URL: &str = "https://api.stripe.com";

/// The orders in `ORDERS_TABLE`.
pub(crate) async fn orders(context: &FunctionContext) -> Result<Orders, InitError> {
    let table: String = context.environment.required("ORDERS_TABLE")?;
    let orders = Orders::new(DynamoDb::new(&context.aws), table, context.clock.clone());
    orders.warm_up().await?;
    Ok(orders)
}

/// The orders in `ORDERS_TABLE`, with the outbox `OUTBOX_TABLE`.
pub(crate) async fn orders_with_outbox(context: &FunctionContext) -> Result<OrdersWithOutbox, InitError> {
    let table: String = context.environment.required("OUTBOX_TABLE")?;
    Ok(OrdersWithOutbox {
        orders: orders(context).await?,
        outbox: DynamoOutbox::new(DynamoDb::new(&context.aws), table),
    })
}

/// The outbox publisher for the event bus `EVENT_BUS`.
pub(crate) fn outbox_publisher(
    context: &FunctionContext,
    outbox: &DynamoOutbox,
) -> Result<OutboxPublisher, EnvironmentError> {
    let event_bus: String = context.environment.required("EVENT_BUS")?;
    let publisher = Publisher::new(aws_sdk_eventbridge::Client::new(&context.aws), event_bus);
    Ok(OutboxPublisher::new(outbox.clone(), publisher))
}

/// The requests to `status-push`, whose queue is `STATUS_PUSH_QUEUE_URL`.
pub(crate) fn status_push(context: &FunctionContext) -> Result<StatusPush, EnvironmentError> {
    let queue_url = context.environment.required("STATUS_PUSH_QUEUE_URL")?;
    Ok(StatusPush::new(aws_sdk_sqs::Client::new(&context.aws), queue_url))
}

/// The payment provider at `PAYMENT_API_URL`, with the API key from the secret `PAYMENT_API_KEY_SECRET`.
pub(crate) async fn payment_provider(context: &FunctionContext) -> Result<RotatingKey<Stripe>, InitError> {
    let url = context
        .environment
        .optional("PAYMENT_API_URL")?
        .unwrap_or_else(|| DEFAULT_PAYMENT_API_URL.to_owned());
    let secret_name = context.environment.optional("PAYMENT_API_KEY_SECRET")?;
    let secret_name = secret_name.unwrap_or_else(|| "ecommerce/payment-api-key".to_owned());
    let client = secret(context, secret_name, move |key| Ok(Stripe::new(&url, key)?)).await?;
    Ok(RotatingKey::new(client))
}

/// A secret of Secrets Manager, and the client or key that `parse` makes of it.
pub(crate) async fn secret<T>(
    context: &FunctionContext,
    name: String,
    parse: impl Fn(&SecretString) -> Result<T, InvalidSecret> + Send + Sync + 'static,
) -> Result<Secret<T>, SecretError> {
    let client = aws_sdk_secretsmanager::Client::new(&context.aws);
    Secret::load(client, name, MAX_AGE, context.clock.clone(), parse).await
}
