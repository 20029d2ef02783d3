//! Creates the clients of the steps during initialisation. Each step creates only the clients that it uses.

use domain::{OrderId, UserId};
use event_publishing::Publisher;
use lambda_shared::{EnvironmentError, FunctionContext, InitError};
use orders::{Orders, Tables};
use secrecy::SecretString;
use secrets::{InvalidSecret, MAX_AGE, Secret, SecretError};
use uuid::Uuid;

use crate::{
    OutboxPublisher, StatusPush,
    payments::{rotating_key::RotatingKey, stripe::Stripe},
};

/// The URL of the payment API when `PAYMENT_API_URL` is not set.
const DEFAULT_PAYMENT_API_URL: &str = "https://api.stripe.com";

/// The order store in `ORDERS_TABLE` and `OUTBOX_TABLE`. Opens the connection by reading an order that does
/// not exist.
pub(crate) async fn order_store(context: &FunctionContext) -> Result<Orders, InitError> {
    open_order_store(context, context.environment.required("OUTBOX_TABLE")?).await
}

/// The order store in `ORDERS_TABLE`, for a step that writes no orders.
pub(crate) async fn order_reader(context: &FunctionContext) -> Result<Orders, InitError> {
    open_order_store(context, String::new()).await
}

async fn open_order_store(context: &FunctionContext, outbox: String) -> Result<Orders, InitError> {
    let tables = Tables {
        orders: context.environment.required("ORDERS_TABLE")?,
        outbox,
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
