//! Thousands of open connections while orders run.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::OrderId;
use e2e::system::{ApiCaller, Received, TestSystem, WebSocketClient, eventually};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

const CUSTOMERS: usize = 200;

/// The most that a user can have.
const CONNECTIONS_PER_CUSTOMER: usize = 10;

/// As many invocations of a function as the local AWS runs concurrently on two cores.
const CONCURRENT_HANDSHAKES: usize = 8;

/// With more, sagas would fail because the local AWS throttles their steps.
const CONCURRENT_ORDERS: usize = 10;

/// A connection that is silent for two minutes is closed, and on a busy machine this test takes longer.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(60);

/// After this time without a response, a heartbeat is repeated: the local AWS drops messages that it
/// throttles.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A customer who has placed one order.
struct Customer {
    caller: ApiCaller,
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
    let mut customers = Vec::new();
    for _ in 0..CUSTOMERS {
        customers.push(Customer {
            caller: system.customer().await,
            informed: Arc::default(),
        });
    }
    let (mut connections, end) = (JoinSet::new(), CancellationToken::new());
    let handshakes = customers
        .iter()
        .flat_map(|customer| std::iter::repeat_n(customer, CONNECTIONS_PER_CUSTOMER))
        .map(async |customer| (customer, system.connect(&customer.caller).await));
    let mut opened = stream::iter(handshakes).buffer_unordered(CONCURRENT_HANDSHAKES);
    while let Some((customer, client)) = opened.next().await {
        let connection = Connection {
            customer_id: customer.caller.id.clone(),
            client,
            updates: Vec::new(),
        };
        connections.spawn(connection.record(Arc::clone(&customer.informed), end.clone()));
    }
    drop(opened);

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
        .for_each_concurrent(CONCURRENT_HANDSHAKES, |connection| connection.client.close())
        .await;
}

impl Connection {
    /// Records updates and sends heartbeats until `end`. Counts this connection in `informed` when an order
    /// has ended.
    async fn record(mut self, informed: Arc<AtomicUsize>, end: CancellationToken) -> Self {
        let mut next_heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
        let mut is_informed = false;
        loop {
            tokio::select! {
                () = end.cancelled() => return self,
                () = sleep_until(next_heartbeat) => {
                    self.client.send(&json!({"action": "ping"})).await;
                    next_heartbeat = Instant::now() + RESPONSE_TIMEOUT;
                }
                received = self.client.receive() => match received {
                    Received::Message(message) if message["type"] == "ORDER_STATUS_UPDATE" => {
                        if message["is_final"] == true && !is_informed {
                            is_informed = true;
                            informed.fetch_add(1, Ordering::Relaxed);
                        }
                        self.updates.push(message);
                    }
                    Received::Message(message) => {
                        assert_eq!(message["type"], "PONG", "{message}");
                        next_heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
                    }
                    Received::Closed => panic!("a connection was closed after {:?}", self.updates),
                },
            }
        }
    }
}

/// The names of the changes that a client has seen, in the order in which it has seen them. Panics if one is
/// missing or different in a later update, or if an update is about another order.
fn changes(order_id: OrderId, updates: &[Value]) -> Vec<&str> {
    let mut seen: Vec<&Value> = Vec::new();
    for update in updates {
        assert_eq!(
            update["order_id"],
            json!(order_id),
            "an update of another customer"
        );
        for change in update["changes"].as_array().unwrap() {
            let position = usize::try_from(change["sequence"].as_u64().unwrap()).unwrap() - 1;
            match seen.get(position) {
                Some(known) => assert_eq!(*known, change),
                None => {
                    assert_eq!(position, seen.len(), "a change is missing before {change}");
                    seen.push(change);
                }
            }
        }
    }
    seen.iter()
        .map(|change| change["status"].as_str().or(change["payment"].as_str()).unwrap())
        .collect()
}
