//! WebSocket clients watch the stock of products: the newest level arrives on every connection, however often
//! it changes, and also after the connection was lost for a while.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{Clock, ids::uuid_v7};
use e2e::system::{TestSystem, WebSocketClient, eventually};
use fault_injection::{FunctionFault, Rule};
use futures::future::join_all;
use serde_json::{Value, json};

/// stock-service announces a level at most once in this time.
const INTERVAL: Duration = Duration::from_millis(400);

/// What a client knows of a product: it keeps the newest level.
#[derive(Debug, Default)]
struct LevelView {
    version: i64,
    available: Option<i64>,
    /// The versions that the client has received.
    received: BTreeSet<i64>,
}

impl LevelView {
    fn apply(&mut self, message: &Value) {
        let version = message["version"].as_i64().unwrap();
        self.received.insert(version);
        if version > self.version {
            self.version = version;
            self.available = message["available"].as_i64();
        }
    }

    /// Subscribes to the product. The level that the client has missed arrives before the response.
    async fn watch(&mut self, client: &mut WebSocketClient, product: &str) {
        let watched = json!([{"product_id": product, "last_version": self.version}]);
        let message = json!({"action": "subscribe", "products": watched});
        let mut received = client.request(message, "watch").await;
        assert_eq!(received.pop().unwrap()["products"], json!([product]));
        received.iter().for_each(|level| self.apply(level));
    }

    /// Receives levels of the product until this many units are available.
    async fn follow(&mut self, client: &mut WebSocketClient, product: &str, available: i64) {
        while self.available != Some(available) {
            let is_level = |message: &Value| message["type"] == "STOCK_UPDATE";
            let level = client.receive_until(is_level).await.pop().unwrap();
            self.apply(&level);
            assert_eq!(level["product_id"], product, "a level of another product");
        }
    }
}

/// Reserves one unit, as the saga does.
async fn reserve_one(system: &TestSystem, product: &str) {
    let reservation = json!({
        "reservation_id": uuid_v7(system.now()), "items": [{"product_id": product, "quantity": 1}],
    });
    let response = system
        .post_to_stock_service("/v1/reservations", &reservation)
        .await;
    assert!(response.status.is_success(), "{response:?}");
}

#[tokio::test]
async fn each_customer_sees_a_product_sell_out() {
    let system = TestSystem::shared();
    let (product, other) = (
        system.create_product(900, 3).await,
        system.create_product(900, 3).await,
    );
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = system.connect(&system.customer().await).await;
        let mut view = LevelView::default();
        view.watch(&mut client, &product).await;
        clients.push((client, view));
    }
    let buyer = system.customer().await;
    for _ in 0..3 {
        system.place_order(&buyer, &other, 1, "pm_card_visa").await;
        system.place_order(&buyer, &product, 1, "pm_card_visa").await;
    }
    for (client, view) in &mut clients {
        view.follow(client, &product, 0).await;
    }

    let unwatch = json!({"action": "unsubscribe", "products": [product]});
    let response = clients[0].0.request(unwatch, "unwatch").await.pop().unwrap();
    assert_eq!(
        (&response["type"], &response["products"]),
        (&json!("UNSUBSCRIBED"), &json!([product]))
    );
}

#[tokio::test]
async fn hot_product_is_pushed_a_few_times_per_second() {
    let system = TestSystem::shared();
    let product = system.create_product(900, 1_000).await;
    let mut client = system.connect(&system.customer().await).await;
    let mut view = LevelView::default();
    view.watch(&mut client, &product).await;
    view.follow(&mut client, &product, 1_000).await;
    let started = Instant::now();
    for _ in 0..25 {
        join_all((0..20).map(|_| reserve_one(&system, &product))).await;
    }
    view.follow(&mut client, &product, 500).await;
    let most = started.elapsed().as_millis() / INTERVAL.as_millis() + 2;
    assert!(
        view.received.len() <= usize::try_from(most).unwrap(),
        "{} levels in {:?}",
        view.received.len(),
        started.elapsed()
    );
}

#[tokio::test]
async fn client_receives_the_level_that_it_has_missed() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let product = system.create_product(900, 5).await;
    let mut client = system.connect(&customer).await;
    let mut view = LevelView::default();
    view.watch(&mut client, &product).await;
    view.follow(&mut client, &product, 5).await;
    client.close().await;
    reserve_one(&system, &product).await;

    let mut client = system.connect(&customer).await;
    view.watch(&mut client, &product).await;
    // The push may still be on its way.
    view.follow(&mut client, &product, 4).await;
}

#[tokio::test]
async fn faults_of_stock_push_lose_no_level() {
    let system = TestSystem::shared();
    for fault in [
        FunctionFault::ErrorBefore,
        FunctionFault::ErrorAfter,
        FunctionFault::CrashBefore,
        FunctionFault::CrashAfter,
        FunctionFault::DuplicateConcurrent,
        FunctionFault::DuplicateSequential,
    ] {
        let product = system.create_product(900, 5).await;
        let mut client = system.connect(&system.customer().await).await;
        let mut view = LevelView::default();
        view.watch(&mut client, &product).await;
        view.follow(&mut client, &product, 5).await;
        let rule = Rule::for_function("stock-push", fault).containing(&product);
        let rule = system.faults.add_rule(&rule.limit_hits(1)).await.unwrap();
        reserve_one(&system, &product).await;
        view.follow(&mut client, &product, 4).await;
        eventually("the fault", async || {
            (system.faults.hits(rule).await.unwrap() > 0).then_some(())
        })
        .await;
        system.faults.remove_rule(rule).await.unwrap();
    }
}

/// The connection has ended, and its `$disconnect` was lost.
#[tokio::test]
async fn push_removes_the_subscription_of_a_connection_that_is_gone() {
    let system = TestSystem::shared();
    let product = system.create_product(900, 5).await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await);
    let table = "ecommerce-stock-subscriptions";
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let ttl = (Clock::system().now().timestamp() + 3600).to_string();
    dynamodb
        .put_item()
        .table_name(table)
        .item("product_id", text(&product))
        .item("connection_id", text("Z29uZQ=="))
        .item("ttl", AttributeValue::N(ttl))
        .send()
        .await
        .unwrap();
    reserve_one(&system, &product).await;
    eventually("a subscription that is removed", async || {
        let read = dynamodb
            .get_item()
            .table_name(table)
            .key("product_id", text(&product))
            .key("connection_id", text("Z29uZQ=="));
        read.send().await.unwrap().item.is_none().then_some(())
    })
    .await;
}
