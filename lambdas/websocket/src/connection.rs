//! `websocket-connection`: the life of a connection. It registers connections, removes those that end, and
//! answers the messages of clients.
//!
//! API Gateway selects the route by the member `action` of a message, and `$default` gets the messages
//! without a known one. All routes lead here, and this function parses the whole message itself.
//!
//! A client that sends more than [`MESSAGE_LIMIT`] is closed. A revocation of the user's tokens closes the
//! connection with its next message, if `status-push` has not closed it before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::TimeDelta;
use connections::{
    Connection, ConnectionsTable, HeartbeatOutcome, MAX_MUTED_ORDERS, MAX_WATCHED_PRODUCTS, MessageLimit,
};
use domain::{Clock, OrderId, ProductId, Timestamp, UserId};
use dynamodb_table::DynamoDbError;
use futures::future::try_join_all;
use lambda_shared::{FunctionContext, FunctionError, Handler, InitError, client_network};
use orders::Orders;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    bootstrap::{self, NIL_USER},
    client_message::{self, Action, ClientMessage, OrderSubscription, ProductSubscription, Rejection},
    management_api::{ManagementApi, ManagementApiError},
    server_message::{OrderPosition, OrderUpdate, ServerMessage},
    stock_subscriptions::StockSubscriptions,
};

/// The number of messages that a connection may send. A client sends two in a minute, and a few more after a
/// reconnection.
const MESSAGE_LIMIT: MessageLimit = MessageLimit {
    messages: 30,
    window: TimeDelta::seconds(10),
};

/// A client without a message for this long counts as gone. Clients send `ping` every 30 seconds. API Gateway
/// itself closes a connection after ten idle minutes.
const IDLE_TIMEOUT: TimeDelta = TimeDelta::seconds(120);

struct ConnectionHandler {
    table: ConnectionsTable,
    orders: Orders,
    subscriptions: StockSubscriptions,
    api: ManagementApi,
    clock: Clock,
    max_per_user: usize,
    max_per_address: u32,
}

/// An event of a WebSocket API.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebSocketEvent {
    request_context: RequestContext,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    event_type: EventType,
    connection_id: String,
    identity: Identity,
    authorizer: AuthorizerContext,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum EventType {
    Connect,
    Message,
    Disconnect,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    source_ip: String,
}

/// The context that `websocket-authorizer` has returned. API Gateway passes text only.
#[derive(Deserialize)]
struct AuthorizerContext {
    user_id: UserId,
    /// Milliseconds since 1970.
    token_issued_at: String,
}

/// Why an event was not processed.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("this function expects an event of a WebSocket API with the context of its authorizer")]
    Event(#[source] serde_json::Error),
    #[error("the authorizer's context contains no valid time")]
    TokenTime,
    #[error(transparent)]
    DynamoDb(#[from] DynamoDbError),
    #[error(transparent)]
    Api(#[from] ManagementApiError),
}

/// Initialises the function. `CONNECTIONS_TABLE`, `ORDERS_TABLE` and `STOCK_SUBSCRIPTIONS_TABLE` are its
/// tables, and `CONNECTIONS_API_URL` is the management API. A user can have `MAX_CONNECTIONS_PER_USER`
/// connections, and a client address `MAX_CONNECTIONS_PER_ADDRESS`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let handler = Arc::new(ConnectionHandler {
        table: bootstrap::connections_table(&context)?,
        orders: bootstrap::orders(&context).await?,
        subscriptions: bootstrap::stock_subscriptions(&context)?,
        api: bootstrap::management_api(&context)?,
        clock: context.clock.clone(),
        max_per_user: context.environment.required("MAX_CONNECTIONS_PER_USER")?,
        max_per_address: context.environment.required("MAX_CONNECTIONS_PER_ADDRESS")?,
    });
    handler.table.revocation(NIL_USER).await?;
    Ok(Handler::new(move |invocation| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(invocation.payload).await }
    }))
}

impl ConnectionHandler {
    async fn handle(&self, payload: Value) -> Result<Value, ConnectionError> {
        let WebSocketEvent {
            request_context: context,
            body,
            is_base64_encoded,
        } = serde_json::from_value(payload).map_err(ConnectionError::Event)?;
        let token_issued_at = context.authorizer.token_issued_at.parse().ok();
        let connection = Connection {
            connection_id: context.connection_id,
            user_id: context.authorizer.user_id,
            address: client_network(&context.identity.source_ip),
            token_issued_at: token_issued_at
                .and_then(Timestamp::from_timestamp_millis)
                .ok_or(ConnectionError::TokenTime)?,
            opened_at: self.clock.now(),
            ttl: (self.clock.now() + IDLE_TIMEOUT).timestamp(),
            muted: BTreeSet::new(),
            products: BTreeSet::new(),
        };
        let status = match context.event_type {
            EventType::Connect => self.connect(&connection).await?,
            EventType::Message => {
                self.receive(&connection, &body.unwrap_or_default(), is_base64_encoded)
                    .await?;
                200
            }
            EventType::Disconnect => {
                self.remove(&connection.connection_id).await?;
                200
            }
        };
        Ok(json!({"statusCode": status}))
    }

    /// Registers a connection, and returns the status of the handshake.
    async fn connect(&self, connection: &Connection) -> Result<u16, ConnectionError> {
        let (of_user, address_is_full) = tokio::try_join!(
            self.table.of_user(connection.user_id),
            self.table
                .address_is_full(&connection.address, self.max_per_address),
        )?;
        let now = self.clock.now();
        let open = of_user.iter().filter(|other| !other.has_expired(now)).count();
        if open >= self.max_per_user || address_is_full {
            tracing::info!(
                open,
                address_is_full,
                "the user or the address has too many connections"
            );
            return Ok(429);
        }
        // A revocation that this read does not see will find the registered connection.
        self.table.register(connection).await?;
        let revocation = self.table.revocation(connection.user_id).await?;
        if revocation.applies_to(connection.token_issued_at) {
            self.remove(&connection.connection_id).await?;
            return Ok(403);
        }
        Ok(200)
    }

    async fn receive(
        &self,
        connection: &Connection,
        body: &str,
        is_binary: bool,
    ) -> Result<(), ConnectionError> {
        let id = &connection.connection_id;
        let (outcome, revocation) = tokio::try_join!(
            self.table.record_message(id, MESSAGE_LIMIT, IDLE_TIMEOUT),
            self.table.revocation(connection.user_id),
        )?;
        match outcome {
            HeartbeatOutcome::Alive if !revocation.applies_to(connection.token_issued_at) => {}
            HeartbeatOutcome::Alive | HeartbeatOutcome::Unknown => return self.close(id).await,
            HeartbeatOutcome::TooManyMessages => {
                tracing::info!("a connection that sent too many messages is closed");
                let detail = "Too many messages: the connection is closed. Wait before connecting again.";
                self.refuse(id, "rate-limited", detail, None).await?;
                return self.close(id).await;
            }
        }
        match client_message::parse(body, is_binary) {
            Ok(message) => self.answer(connection, message).await,
            Err(Rejection {
                code,
                detail,
                request_id,
            }) => self.refuse(id, code, &detail, request_id).await,
        }
    }

    async fn answer(
        &self,
        connection: &Connection,
        ClientMessage { action, request_id }: ClientMessage,
    ) -> Result<(), ConnectionError> {
        let id = &connection.connection_id;
        let response = match action {
            Action::Subscribe { orders, products } => {
                if !self.watch(id, &products).await? {
                    let detail = format!(
                        "A connection can watch at most {MAX_WATCHED_PRODUCTS} products. Unsubscribe from others."
                    );
                    return self.refuse(id, "too-many-products", &detail, request_id).await;
                }
                let (orders, not_found) = self.follow(connection, &orders).await?;
                ServerMessage::Subscribed {
                    orders,
                    products: products.iter().map(|product| product.product_id).collect(),
                    not_found,
                    request_id,
                }
            }
            Action::Unsubscribe { orders, products } => {
                if !orders.is_empty() && !self.table.mute(id, &orders).await? {
                    let detail = format!(
                        "A connection can mute at most {MAX_MUTED_ORDERS} orders. Ignore the updates of others."
                    );
                    return self.refuse(id, "too-many-orders", &detail, request_id).await;
                }
                if !products.is_empty() {
                    self.subscriptions
                        .unsubscribe(id, products.iter().copied())
                        .await?;
                    self.table.remove_products(id, &products).await?;
                }
                ServerMessage::Unsubscribed {
                    orders,
                    products,
                    request_id,
                }
            }
            Action::Ping => ServerMessage::Pong {
                at: self.clock.now(),
                request_id,
            },
        };
        self.send(id, &response).await
    }

    /// Sends what the client has missed of its user's orders. Returns the positions of the orders, and the
    /// ids of those that were not found.
    async fn follow(
        &self,
        connection: &Connection,
        subscriptions: &[OrderSubscription],
    ) -> Result<(Vec<OrderPosition>, Vec<OrderId>), ConnectionError> {
        let (mut orders, mut not_found) = (Vec::new(), Vec::new());
        if subscriptions.is_empty() {
            return Ok((orders, not_found));
        }
        let ids: Vec<OrderId> = subscriptions.iter().map(|order| order.order_id).collect();
        // Before the orders are read: a change after the read is pushed.
        self.table.unmute(&connection.connection_id, &ids).await?;
        let reads = ids.iter().map(|id| self.orders.find(connection.user_id, *id));
        for (order, subscription) in try_join_all(reads).await?.into_iter().zip(subscriptions) {
            let Some(order) = order else {
                not_found.push(subscription.order_id);
                continue;
            };
            if order.sequence() > subscription.last_sequence {
                let update = OrderUpdate::since(&order, subscription.last_sequence);
                self.send(
                    &connection.connection_id,
                    &ServerMessage::OrderStatusUpdate(update),
                )
                .await?;
            }
            orders.push(OrderPosition {
                order_id: order.order_id,
                sequence: order.sequence(),
            });
        }
        Ok((orders, not_found))
    }

    /// Subscribes the connection to the levels of products, and sends the levels that the client has missed.
    /// Returns `false` if the connection would watch too many products.
    async fn watch(
        &self,
        connection_id: &str,
        subscriptions: &[ProductSubscription],
    ) -> Result<bool, ConnectionError> {
        if subscriptions.is_empty() {
            return Ok(true);
        }
        // A client repeats its subscriptions with each heartbeat. Those that exist are not written again.
        let watched = self.table.products(connection_id).await?;
        let new: BTreeSet<ProductId> = subscriptions
            .iter()
            .map(|product| product.product_id)
            .filter(|product| !watched.contains(product))
            .collect();
        if watched.len() + new.len() > MAX_WATCHED_PRODUCTS {
            return Ok(false);
        }
        if !new.is_empty() {
            // In this order: `$disconnect` removes the subscriptions of the products that the connection
            // lists. A repetition after an error writes both again.
            self.subscriptions
                .subscribe(connection_id, new.iter().copied())
                .await?;
            if !self.table.add_products(connection_id, &new).await? {
                // Without those that a concurrent message of the client has added.
                let watched = self.table.products(connection_id).await?;
                let refused: Vec<ProductId> = new.difference(&watched).copied().collect();
                if !refused.is_empty() {
                    self.subscriptions.unsubscribe(connection_id, refused).await?;
                    return Ok(false);
                }
            }
        }
        // After the subscription is written: a level that is stored later is pushed.
        let seen: BTreeMap<ProductId, i64> = subscriptions
            .iter()
            .map(|product| (product.product_id, product.last_version))
            .collect();
        for level in self.subscriptions.levels(seen.keys().copied()).await? {
            if seen[&level.product_id] < level.version {
                self.send(connection_id, &ServerMessage::StockUpdate(level))
                    .await?;
            }
        }
        Ok(true)
    }

    async fn refuse(
        &self,
        connection_id: &str,
        code: &'static str,
        detail: &str,
        request_id: Option<String>,
    ) -> Result<(), ConnectionError> {
        let message = ServerMessage::Error {
            code,
            detail,
            request_id,
        };
        self.send(connection_id, &message).await
    }

    /// Sends a message. A connection that is gone needs none: its `$disconnect` removes it.
    async fn send(&self, connection_id: &str, message: &ServerMessage<'_>) -> Result<(), ConnectionError> {
        self.api.send(connection_id, message).await?;
        Ok(())
    }

    async fn close(&self, connection_id: &str) -> Result<(), ConnectionError> {
        self.remove(connection_id).await?;
        self.api.close(connection_id).await?;
        Ok(())
    }

    /// Removes a connection and its subscriptions.
    async fn remove(&self, connection_id: &str) -> Result<(), ConnectionError> {
        let products = self.table.products(connection_id).await?;
        self.subscriptions.unsubscribe(connection_id, products).await?;
        self.table.remove(connection_id).await?;
        Ok(())
    }
}

impl FunctionError for ConnectionError {
    fn name(&self) -> &'static str {
        match self {
            Self::Event(_) | Self::TokenTime => "InvalidInput",
            Self::DynamoDb(_) | Self::Api(_) => "Unavailable",
        }
    }

    fn is_business_error(&self) -> bool {
        false
    }
}
