//! `status-push`: sends each change of an order to all connections of its customer, and closes the
//! connections of a user whose tokens are revoked.
//!
//! A message in the queue only says which order has changed. The function reads the order and sends its
//! present state with its whole history, numbered. So a message that is late, duplicate or out of order sends
//! nothing wrong, a lost one loses nothing that the next one does not send, and clients drop the numbers that
//! they have seen.

use std::sync::Arc;

use connections::{Connection, ConnectionsTable};
use domain::{Clock, OrderId, Timestamp, UserId};
use dynamodb_table::DynamoDbError;
use events::{
    Envelope, EventBridgeEvent, EventContext, EventData, StatusPushRequest,
    eventbridge::{EventHeader, EventParseError},
    order::{OrderCancelled, OrderCompleted, OrderCreated, OrderFailed, PaymentActionCompleted},
    payment::{PaymentProcessed, PaymentRefunded},
    user::UserTokensRevoked,
};
use futures::future::join_all;
use lambda_shared::{FunctionContext, Handler, InitError, sqs, trace_context};
use orders::Orders;

use crate::{
    bootstrap::{self, NIL_USER},
    management_api::{Delivery, ManagementApi, ManagementApiError},
    server_message::{OrderUpdate, ServerMessage},
};

/// The number of messages of a batch that one invocation processes concurrently. Each sends to all
/// connections of a user at once, whose number is bounded.
const CONCURRENCY: usize = 10;

struct StatusPush {
    table: ConnectionsTable,
    orders: Orders,
    api: ManagementApi,
    clock: Clock,
}

/// What a message in the queue asks for.
enum Trigger {
    OrderChanged { user_id: UserId, order_id: OrderId },
    TokensRevoked(UserTokensRevoked),
}

/// Why a message failed.
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error(transparent)]
    Event(#[from] EventParseError),
    #[error("the message is neither an event nor a request")]
    Malformed(#[from] serde_json::Error),
    #[error("the event type {0} changes no order")]
    UnsupportedEvent(String),
    #[error(transparent)]
    DynamoDb(#[from] DynamoDbError),
    #[error(transparent)]
    Api(#[from] ManagementApiError),
}

/// Initialises the function. `CONNECTIONS_TABLE` and `ORDERS_TABLE` are its tables, and `CONNECTIONS_API_URL`
/// is the management API.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let push = Arc::new(StatusPush {
        table: bootstrap::connections_table(&context)?,
        orders: bootstrap::orders(&context).await?,
        api: bootstrap::management_api(&context)?,
        clock: context.clock.clone(),
    });
    push.table.of_user(NIL_USER).await?;
    Ok(sqs::handler(context.clock, CONCURRENCY, move |message| {
        let push = Arc::clone(&push);
        async move { push.process(&message.body).await }
    }))
}

impl StatusPush {
    async fn process(&self, body: &str) -> Result<(), PushError> {
        match parse_trigger(body)? {
            Trigger::OrderChanged { user_id, order_id } => self.push_order(user_id, order_id).await,
            Trigger::TokensRevoked(UserTokensRevoked {
                user_id,
                tokens_valid_from,
            }) => self.close_revoked(user_id, tokens_valid_from).await,
        }
    }

    /// Sends the order's state to all valid connections of its customer.
    async fn push_order(&self, user_id: UserId, order_id: OrderId) -> Result<(), PushError> {
        let connections = self.table.of_user(user_id).await?;
        if connections.is_empty() {
            return Ok(());
        }
        let (revocation, order) = tokio::join!(
            self.table.revocation(user_id),
            self.orders.find(user_id, order_id)
        );
        let revocation = revocation?;
        let Some(order) = order? else {
            tracing::warn!("the order does not exist");
            return Ok(());
        };
        let message = ServerMessage::OrderStatusUpdate(OrderUpdate::since(&order, 0));
        let (now, mut recipients) = (self.clock.now(), Vec::new());
        for connection in &connections {
            if revocation.applies_to(connection.token_issued_at) || connection.has_expired(now) {
                self.close(connection).await?;
            } else if !connection.muted.contains(&order_id) {
                recipients.push(connection);
            }
        }
        // Each connection gets its message, also if that of another one fails.
        let results = join_all(recipients.iter().map(|recipient| self.send(recipient, &message))).await;
        let sent = results.iter().filter(|result| matches!(result, Ok(true))).count();
        tracing::info!(sent, sequence = order.sequence(), "the order's state was pushed");
        results.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    /// Sends a message, and returns whether the connection received it. Removes a connection that is gone.
    async fn send(&self, connection: &Connection, message: &ServerMessage<'_>) -> Result<bool, PushError> {
        match self.api.send(&connection.connection_id, message).await? {
            Delivery::Sent => Ok(true),
            // A client reads the order when its connection is open.
            Delivery::Gone if connection.may_be_opening(self.clock.now()) => Ok(false),
            Delivery::Gone => {
                self.table.remove(&connection.connection_id).await?;
                Ok(false)
            }
        }
    }

    /// Closes the user's connections that were opened with tokens from before `tokens_valid_from`.
    async fn close_revoked(&self, user_id: UserId, tokens_valid_from: Timestamp) -> Result<(), PushError> {
        // First: a connection that the list does not contain yet is refused or closed because of it.
        self.table.revoke(user_id, tokens_valid_from).await?;
        let mut closed = 0_u32;
        for connection in self.table.of_user(user_id).await? {
            if connection.token_issued_at < tokens_valid_from {
                self.close(&connection).await?;
                closed += 1;
            }
        }
        tracing::info!(closed, "the connections of revoked tokens were closed");
        Ok(())
    }

    /// Closes a connection. A repetition after an error closes it, because the item is removed last.
    async fn close(&self, connection: &Connection) -> Result<(), PushError> {
        self.api.close(&connection.connection_id).await?;
        self.table.remove(&connection.connection_id).await?;
        Ok(())
    }
}

fn parse_trigger(body: &str) -> Result<Trigger, PushError> {
    if let Ok(request) = serde_json::from_str::<StatusPushRequest>(body) {
        trace_context::attach(&EventContext {
            correlation_id: request.order_id.0,
            causation_id: None,
            traceparent: request.traceparent,
        });
        return Ok(Trigger::OrderChanged {
            user_id: request.user_id,
            order_id: request.order_id,
        });
    }
    let header: EventHeader = serde_json::from_str(body)?;
    let order = |(user_id, order_id)| Trigger::OrderChanged { user_id, order_id };
    Ok(match header.detail_type.as_str() {
        OrderCreated::DETAIL_TYPE => order(read::<OrderCreated, _>(body, |data| {
            (data.user_id, data.order_id)
        })?),
        PaymentActionCompleted::DETAIL_TYPE => order(read::<PaymentActionCompleted, _>(body, |data| {
            (data.user_id, data.order_id)
        })?),
        PaymentProcessed::DETAIL_TYPE => order(read::<PaymentProcessed, _>(body, |data| {
            (data.user_id, data.order_id)
        })?),
        PaymentRefunded::DETAIL_TYPE => order(read::<PaymentRefunded, _>(body, |data| {
            (data.user_id, data.order_id)
        })?),
        OrderCompleted::DETAIL_TYPE => order(read::<OrderCompleted, _>(body, |data| {
            (data.user_id, data.order_id)
        })?),
        OrderFailed::DETAIL_TYPE => order(read::<OrderFailed, _>(body, |data| {
            (data.user_id, data.order_id)
        })?),
        OrderCancelled::DETAIL_TYPE => order(read::<OrderCancelled, _>(body, |data| {
            (data.user_id, data.order_id)
        })?),
        UserTokensRevoked::DETAIL_TYPE => Trigger::TokensRevoked(read(body, UserTokensRevoked::clone)?),
        _ => return Err(PushError::UnsupportedEvent(header.detail_type)),
    })
}

/// Parses the event and adds its trace to the log lines.
fn read<D: EventData, T>(body: &str, read: impl Fn(&D) -> T) -> Result<T, EventParseError> {
    let event: Envelope<D> = EventBridgeEvent::parse(body)?.detail;
    trace_context::attach(&event.follow_up_context());
    Ok(read(&event.data))
}
