//! The test context: tables, functions, and an API gateway that invokes them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::{AtomicU64, Ordering},
};

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use connections::{ADDRESS_INDEX, Connection, ConnectionsTable, USER_INDEX};
use domain::{Clock, OrderId, ProductId, Timestamp, UserId, ids::uuid_v7};
use dynamodb_table::testing::{TestIndex, create_table, create_table_with_indexes};
use events::{
    Envelope, EventContext, EventData, StatusPushRequest, StockPushRequest, TraceParent,
    user::UserTokensRevoked,
};
use lambda_shared::testing::{FunctionProcess, KeyedTable, start_table_rights_proxy};
use orders::{
    OrderPlacement,
    testing::{OrderTables, new_order},
};
use serde_json::{Value, json};

use crate::{EXECUTABLE, management_api::ManagementApi};

/// The limits of the functions under test.
pub const MAX_PER_USER: usize = 5;
pub const MAX_PER_ADDRESS: usize = 8;

struct DynamoDbTable {
    client: Client,
    name: String,
}

pub struct Gateway {
    pub api: ManagementApi,
    pub table: ConnectionsTable,
    pub authorizer: FunctionProcess,
    connection: FunctionProcess,
    /// Lambda runs concurrent invocations in processes of their own.
    concurrent_connection: FunctionProcess,
    status_push: FunctionProcess,
    stock_push: FunctionProcess,
    subscriptions: DynamoDbTable,
    placement: OrderPlacement,
    next_connection: AtomicU64,
}

pub fn now() -> Timestamp {
    Clock::system().now()
}

/// A client address of the documentation's network. Each test has its own.
pub fn new_address() -> String {
    let [.., a, b, c] = *uuid_v7(now()).as_bytes();
    format!("10.{a}.{b}.{c}")
}

impl Gateway {
    pub async fn start() -> Self {
        let aws = aws_client::sdk_config().await;
        let index = |name, key| TestIndex {
            name,
            keys: key,
            attributes: None,
        };
        let indexes = [
            index(USER_INDEX, &["user_id"]),
            index(ADDRESS_INDEX, &["address"]),
        ];
        let connections_table = create_table_with_indexes(&aws, &["connection_id"], &indexes).await;
        let tables = OrderTables::create(&aws).await;
        let subscriptions = create_table(&aws, &["product_id", "connection_id"]).await;
        let api = ManagementApi::default();
        let url = api.start(aws.endpoint_url().unwrap()).await;
        let (per_user, per_address) = (MAX_PER_USER.to_string(), MAX_PER_ADDRESS.to_string());
        let variables = [
            ("CONNECTIONS_API_URL", "/api/live"),
            ("CONNECTIONS_TABLE", &connections_table),
            ("ORDERS_TABLE", &tables.orders),
            ("STOCK_SUBSCRIPTIONS_TABLE", &subscriptions),
            ("MAX_CONNECTIONS_PER_USER", &per_user),
            ("MAX_CONNECTIONS_PER_ADDRESS", &per_address),
        ];
        let keyed_table = KeyedTable {
            logical_id: "ConnectionsTable",
            name: &connections_table,
            key: "connection_id",
        };
        // A function reaches only the keys of the table that the template permits.
        let start = async |name| {
            let url = start_table_rights_proxy(name, keyed_table, &url).await;
            let variables = variables.into_iter().chain([("AWS_ENDPOINT_URL", url.as_str())]);
            FunctionProcess::start(EXECUTABLE, name, &variables.collect::<Vec<_>>())
                .await
                .unwrap()
        };
        let client = Client::new(&aws);
        Self {
            api,
            authorizer: start("websocket-authorizer").await,
            connection: start("websocket-connection").await,
            concurrent_connection: start("websocket-connection").await,
            status_push: start("status-push").await,
            stock_push: start("stock-push").await,
            subscriptions: DynamoDbTable {
                client: client.clone(),
                name: subscriptions.clone(),
            },
            table: ConnectionsTable::new(client.clone(), connections_table, Clock::system()),
            placement: tables.open(client, Clock::system()).placement,
            next_connection: AtomicU64::new(0),
        }
    }

    /// Places an order.
    pub async fn place_order(&self, user_id: UserId) -> OrderId {
        let new = new_order(user_id, now());
        self.placement.place(&new).await.unwrap().0.order_id
    }

    /// Opens a connection with a token of this time, and returns its id, or the status that refuses it.
    pub async fn connect(
        &self,
        user_id: UserId,
        token_issued_at: Timestamp,
        address: &str,
    ) -> Result<String, u64> {
        let id = format!(
            "connection-{}",
            self.next_connection.fetch_add(1, Ordering::SeqCst)
        );
        let event = websocket_event("CONNECT", &id, user_id, token_issued_at, address);
        let response = self.connection.invoke(event).await.unwrap();
        match response["statusCode"].as_u64().unwrap() {
            200 => {
                self.api.state().open.insert(id.clone());
                Ok(id)
            }
            status => Err(status),
        }
    }

    /// A client's message.
    pub async fn receive(&self, id: &str, user_id: UserId, token_issued_at: Timestamp, message: &Value) {
        let event = message_event(id, user_id, token_issued_at, message);
        self.connection.invoke(event).await.unwrap();
    }

    /// A client's message that arrives twice at the same time.
    pub async fn receive_twice(
        &self,
        id: &str,
        user_id: UserId,
        token_issued_at: Timestamp,
        message: &Value,
    ) {
        let event = message_event(id, user_id, token_issued_at, message);
        let (first, second) = tokio::join!(
            self.connection.invoke(event.clone()),
            self.concurrent_connection.invoke(event)
        );
        first.unwrap();
        second.unwrap();
    }

    pub async fn disconnect(&self, id: &str, user_id: UserId, token_issued_at: Timestamp) {
        self.api.state().open.remove(id);
        let event = websocket_event("DISCONNECT", id, user_id, token_issued_at, "10.0.0.1");
        self.connection.invoke(event).await.unwrap();
    }

    /// A message in the queue of status-push. Returns whether it was processed.
    pub async fn push(&self, user_id: UserId, order_id: OrderId) -> bool {
        let request = StatusPushRequest {
            order_id,
            user_id,
            traceparent: TraceParent::root(now()),
        };
        self.deliver(&json!(request)).await
    }

    pub async fn revoke_tokens(&self, user_id: UserId, tokens_valid_from: Timestamp) -> bool {
        let data = UserTokensRevoked {
            user_id,
            tokens_valid_from,
        };
        let context = EventContext {
            correlation_id: user_id.0,
            causation_id: None,
            traceparent: TraceParent::root(now()),
        };
        self.deliver(&json!({
            "source": UserTokensRevoked::SOURCE,
            "detail-type": UserTokensRevoked::DETAIL_TYPE,
            "detail": Envelope::new(data, now(), context),
        }))
        .await
    }

    pub async fn deliver(&self, message: &Value) -> bool {
        let batch = json!({"Records": [{"messageId": "1", "body": message.to_string()}]});
        let response = self.status_push.invoke(batch).await.unwrap();
        response["batchItemFailures"] == json!([])
    }

    /// An announcement of a level in the queue of stock-push. Returns whether it was processed.
    pub async fn push_level(&self, level: StockPushRequest) -> bool {
        self.deliver_levels(&[json!(level)]).await
    }

    /// A batch in the queue of stock-push. Returns whether all its messages were processed.
    pub async fn deliver_levels(&self, messages: &[Value]) -> bool {
        let record =
            |(id, body): (usize, &Value)| json!({"messageId": id.to_string(), "body": body.to_string()});
        let records: Vec<Value> = messages.iter().enumerate().map(record).collect();
        let response = self.stock_push.invoke(json!({"Records": records})).await.unwrap();
        response["batchItemFailures"] == json!([])
    }

    /// The connections that watch a product.
    pub async fn watchers(&self, product: ProductId) -> BTreeSet<String> {
        let items = self
            .subscriptions
            .client
            .query()
            .table_name(&self.subscriptions.name)
            .key_condition_expression("product_id = :product")
            .expression_attribute_values(":product", AttributeValue::S(product.to_string()))
            .send()
            .await
            .unwrap()
            .items
            .unwrap_or_default();
        let connection =
            |item: HashMap<String, AttributeValue>| item["connection_id"].as_s().unwrap().clone();
        items
            .into_iter()
            .map(connection)
            .filter(|key| key != "level")
            .collect()
    }

    pub async fn connections(&self, user_id: UserId) -> Vec<Connection> {
        self.table.of_user(user_id).await.unwrap()
    }
}

fn message_event(id: &str, user_id: UserId, token_issued_at: Timestamp, message: &Value) -> Value {
    let mut event = websocket_event("MESSAGE", id, user_id, token_issued_at, "10.0.0.1");
    event["body"] = json!(message.to_string());
    event
}

fn websocket_event(
    event_type: &str,
    id: &str,
    user_id: UserId,
    token_issued_at: Timestamp,
    address: &str,
) -> Value {
    json!({
        "requestContext": {
            "eventType": event_type,
            "connectionId": id,
            "identity": {"sourceIp": address},
            "authorizer": {
                "principalId": user_id,
                "user_id": user_id,
                "token_issued_at": token_issued_at.timestamp_millis().to_string(),
            },
        },
        "isBase64Encoded": false,
    })
}
