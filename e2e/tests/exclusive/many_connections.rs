//! Thousands of open connections while orders run.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::TimeDelta;
use connections::ConnectionsTable;
use domain::OrderId;
use e2e::{
    realtime::{OrderUpdate, OrderView},
    system::{ApiCaller, TestSystem, WebSocketClient, eventually},
};
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const CUSTOMERS: usize = 200;

/// The most that a user can have.
const CONNECTIONS_PER_CUSTOMER: usize = 10;

/// As many invocations of a function as the local AWS runs concurrently on two cores. It refuses others.
const CONCURRENT_INVOCATIONS: usize = 8;

/// With more, sagas would fail because the local AWS throttles their steps.
const CONCURRENT_ORDERS: usize = 10;

/// A customer who places one order.
struct Customer {
    caller: ApiCaller,
    clients: Vec<WebSocketClient>,
    /// The connections that have received the end of the order.
    informed: Arc<AtomicUsize>,
}

/// A connection at the end of the test.
struct Connection {
    customer_id: String,
    client: WebSocketClient,
    /// The updates of orders that have arrived, oldest first.
    updates: Vec<Value>,
}

#[tokio::test]
async fn two_thousand_connections_are_informed_while_orders_run() {
    let system = TestSystem::exclusive().await;
    let customers = (0..CUSTOMERS).map(|_| Customer::connect(&system));
    let mut customers: Vec<Customer> = stream::iter(customers)
        .buffer_unordered(CONCURRENT_INVOCATIONS)
        .collect()
        .await;
    let (mut connections, end) = (JoinSet::new(), CancellationToken::new());
    for customer in &mut customers {
        for client in customer.clients.drain(..) {
            let connection = Connection {
                customer_id: customer.caller.id.clone(),
                client,
                updates: Vec::new(),
            };
            connections.spawn(connection.record(Arc::clone(&customer.informed), end.clone()));
        }
    }

    let lantern = system
        .create_product(7500, i64::try_from(CUSTOMERS).unwrap())
        .await;
    let orders = customers.iter().map(async |customer| {
        let order_id = system
            .place_order(&customer.caller, &lantern, 1, "pm_card_visa")
            .await;
        eventually(
            "the end of an order on all connections of its customer",
            async || {
                let informed = customer.informed.load(Ordering::Relaxed);
                (informed == CONNECTIONS_PER_CUSTOMER).then_some(())
            },
        )
        .await;
        (customer.caller.id.clone(), order_id)
    });
    let orders: HashMap<String, OrderId> = stream::iter(orders)
        .buffer_unordered(CONCURRENT_ORDERS)
        .collect()
        .await;
    eventually("an empty queue", async || {
        system
            .queue_messages("status-push-queue")
            .await
            .is_empty()
            .then_some(())
    })
    .await;

    end.cancel();
    let connections = connections.join_all().await;
    assert_eq!(connections.len(), CUSTOMERS * CONNECTIONS_PER_CUSTOMER);
    for Connection {
        customer_id, updates, ..
    } in &connections
    {
        assert_eq!(
            changes(orders[customer_id], updates),
            ["pending", "processing", "captured", "completed"]
        );
    }
    // Each end of a connection invokes a function.
    stream::iter(connections)
        .for_each_concurrent(CONCURRENT_INVOCATIONS, |connection| connection.client.close())
        .await;
}

impl Customer {
    /// A new customer with open connections. They send no heartbeats, because those of 2,000 connections use
    /// the local AWS fully, and it then loses some. So this function prolongs the connections instead.
    async fn connect(system: &TestSystem) -> Self {
        let caller = system.customer().await;
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS_PER_CUSTOMER {
            clients.push(system.connect(&caller).await);
        }
        let client = aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await);
        let table = ConnectionsTable::new(client, "ecommerce-connections", system.clock.clone());
        let registered = table.of_user(caller.id.parse().unwrap()).await.unwrap();
        assert_eq!(registered.len(), CONNECTIONS_PER_CUSTOMER);
        for mut connection in registered {
            connection.ttl = (system.now() + TimeDelta::hours(1)).timestamp();
            table.register(&connection).await.unwrap();
        }
        Self {
            caller,
            clients,
            informed: Arc::default(),
        }
    }
}

impl Connection {
    /// Records updates until `end`. Counts this connection in `informed` when an order has ended.
    async fn record(mut self, informed: Arc<AtomicUsize>, end: CancellationToken) -> Self {
        let mut is_informed = false;
        loop {
            tokio::select! {
                () = end.cancelled() => return self,
                text = self.client.receive_text() => {
                    let text = text.unwrap_or_else(|| panic!("a connection was closed after {:?}", self.updates));
                    let update: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(update["type"], "ORDER_STATUS_UPDATE", "{update}");
                    if update["is_final"] == true && !is_informed {
                        is_informed = true;
                        informed.fetch_add(1, Ordering::Relaxed);
                    }
                    self.updates.push(update);
                }
            }
        }
    }
}

/// The names of the changes that a client has seen, in the order in which it has seen them. Panics if one is
/// missing or different in a later update, or if an update is about another order.
fn changes(order_id: OrderId, updates: &[Value]) -> Vec<&'static str> {
    let mut view = OrderView::default();
    for update in updates {
        let update = OrderUpdate::parse(update).unwrap().unwrap();
        assert_eq!(update.order_id, order_id, "an update of another customer");
        view.apply(&update).unwrap();
    }
    view.names()
}
