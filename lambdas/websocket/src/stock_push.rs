//! `stock-push`: sends the level of a product to all connections that watch the product.
//!
//! stock-service announces a level at most a few times per second, however often it changes. A level has a
//! version. An announcement that is older than the stored level sends nothing, and clients drop the versions
//! that they have seen, so late and duplicate messages show nothing twice and nothing old. A client that
//! missed a push gets the stored level with its next `subscribe`.

use std::sync::Arc;

use dynamodb_table::DynamoDbError;
use events::StockPushRequest;
use futures::{StreamExt, stream};
use lambda_shared::{FunctionContext, Handler, InitError, sqs};

use crate::{
    bootstrap::{self, NIL_PRODUCT},
    management_api::{Delivery, ManagementApi, ManagementApiError},
    server_message::ServerMessage,
    stock_subscriptions::StockSubscriptions,
};

/// The number of products of a batch that one invocation processes concurrently: the whole batch.
const CONCURRENCY: usize = 10;

/// The number of connections of a product to which one invocation sends concurrently.
const SEND_CONCURRENCY: usize = 25;

struct StockPush {
    subscriptions: StockSubscriptions,
    api: ManagementApi,
}

/// Why a message failed.
#[derive(Debug, thiserror::Error)]
enum StockPushError {
    #[error("the message is no announcement of a level")]
    Malformed(#[from] serde_json::Error),
    #[error(transparent)]
    Subscriptions(#[from] DynamoDbError),
    #[error(transparent)]
    Api(#[from] ManagementApiError),
}

/// Initialises the function. `STOCK_SUBSCRIPTIONS_TABLE` is its table, and `CONNECTIONS_API_URL` the
/// management API.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let push = Arc::new(StockPush {
        subscriptions: bootstrap::stock_subscriptions(&context)?,
        api: bootstrap::management_api(&context)?,
    });
    push.subscriptions.subscribers(NIL_PRODUCT).await?;
    Ok(sqs::handler(context.clock, CONCURRENCY, move |message| {
        let push = Arc::clone(&push);
        async move { push.push(serde_json::from_str(&message.body)?).await }
    }))
}

impl StockPush {
    async fn push(&self, level: StockPushRequest) -> Result<(), StockPushError> {
        // Before the subscribers are read: a connection that subscribes later reads the stored level.
        if !self.subscriptions.store_level(level).await? {
            tracing::info!(product_id = %level.product_id, "a newer level of the product is known");
            return Ok(());
        }
        let subscribers = self.subscriptions.subscribers(level.product_id).await?;
        let message = ServerMessage::StockUpdate(level);
        let mut results = stream::iter(subscribers)
            .map(|connection_id| self.send(connection_id, &message, level))
            .buffer_unordered(SEND_CONCURRENCY);
        let (mut sent, mut failure) = (0_u32, None);
        // Each connection gets its message, also if that of another one fails.
        while let Some(result) = results.next().await {
            match result {
                Ok(delivery) => sent += u32::from(delivery == Delivery::Sent),
                Err(error) => failure = Some(error),
            }
        }
        tracing::info!(product_id = %level.product_id, sent, version = level.version, "the level was pushed");
        failure.map_or(Ok(()), Err)
    }

    /// Sends a message. Removes the subscription of a connection that is gone.
    async fn send(
        &self,
        connection_id: String,
        message: &ServerMessage<'_>,
        level: StockPushRequest,
    ) -> Result<Delivery, StockPushError> {
        let delivery = self.api.send(&connection_id, message).await?;
        if delivery == Delivery::Gone {
            self.subscriptions
                .unsubscribe(&connection_id, [level.product_id])
                .await?;
        }
        Ok(delivery)
    }
}
