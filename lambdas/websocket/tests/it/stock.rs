//! Live stock: subscriptions to products and pushes of levels.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use connections::MAX_WATCHED_PRODUCTS;
use domain::{ProductId, Timestamp, UserId};
use events::StockPushRequest;
use serde_json::{Value, json};

use crate::gateway::{Gateway, new_address, now};

/// A user with a connection.
struct Client<'a> {
    gateway: &'a Gateway,
    user: UserId,
    issued_at: Timestamp,
    connection: String,
}

impl<'a> Client<'a> {
    async fn connect(gateway: &'a Gateway) -> Self {
        let (user, issued_at) = (UserId::new(now()), now());
        let connection = gateway.connect(user, issued_at, &new_address()).await.unwrap();
        Self {
            gateway,
            user,
            issued_at,
            connection,
        }
    }

    /// Sends a message, and returns what this connection receives because of it.
    async fn send(&self, message: &Value) -> Vec<Value> {
        self.gateway.api.state().received.clear();
        self.gateway
            .receive(&self.connection, self.user, self.issued_at, message)
            .await;
        self.received()
    }

    async fn watch(&self, products: &[ProductId]) -> Vec<Value> {
        self.watch_from(products, 0).await
    }

    async fn watch_from(&self, products: &[ProductId], last_version: i64) -> Vec<Value> {
        let entry = |id: &ProductId| json!({"product_id": id, "last_version": last_version});
        let products: Vec<Value> = products.iter().map(entry).collect();
        self.send(&json!({"action": "subscribe", "products": products}))
            .await
    }

    fn received(&self) -> Vec<Value> {
        let state = self.gateway.api.state();
        let of_connection = state.received.iter().filter(|(id, _)| *id == self.connection);
        of_connection.map(|(_, message)| message.clone()).collect()
    }
}

fn new_product() -> ProductId {
    ProductId::new(now())
}

fn level(product_id: ProductId, available: i64, version: i64) -> StockPushRequest {
    StockPushRequest {
        product_id,
        available,
        version,
    }
}

fn update(level: StockPushRequest) -> Value {
    json!({
        "type": "STOCK_UPDATE", "product_id": level.product_id, "available": level.available,
        "version": level.version,
    })
}

fn subscribed(products: &[ProductId]) -> Value {
    json!({"type": "SUBSCRIBED", "orders": [], "not_found": [], "products": products})
}

#[tokio::test]
async fn levels_reach_the_connections_that_watch_the_product() {
    let gateway = Gateway::start().await;
    let (lantern, fan) = (new_product(), new_product());
    let (first, second) = (Client::connect(&gateway).await, Client::connect(&gateway).await);
    assert_eq!(first.watch(&[lantern]).await, [subscribed(&[lantern])]);
    assert_eq!(second.watch(&[lantern, fan]).await, [subscribed(&[lantern, fan])]);
    gateway.api.state().received.clear();

    let (of_lantern, of_fan) = (level(lantern, 3, 10), level(fan, 0, 20));
    assert!(gateway.deliver_levels(&[json!(of_lantern), json!(of_fan)]).await);
    assert_eq!(first.received(), [update(of_lantern)]);
    let mut received = second.received();
    received.sort_by_key(|message| message["version"].as_i64());
    assert_eq!(received, [update(of_lantern), update(of_fan)]);

    let unwatch = json!({"action": "unsubscribe", "products": [lantern]});
    let unsubscribed = json!({"type": "UNSUBSCRIBED", "orders": [], "products": [lantern]});
    assert_eq!(second.send(&unwatch).await, [unsubscribed]);
    gateway.api.state().received.clear();
    assert!(gateway.push_level(level(lantern, 2, 11)).await);
    assert_eq!(first.received().len(), 1);
    assert_eq!(second.received(), Vec::<Value>::new());
}

#[tokio::test]
async fn late_levels_are_not_sent() {
    let gateway = Gateway::start().await;
    let lantern = new_product();
    let client = Client::connect(&gateway).await;
    client.watch(&[lantern]).await;
    gateway.api.state().received.clear();
    for version in [12, 10, 12, 11] {
        assert!(gateway.push_level(level(lantern, version, version)).await);
    }
    // A repetition is sent again, because the first delivery may have failed before it sent anything.
    let twelve = update(level(lantern, 12, 12));
    assert_eq!(client.received(), [twelve.clone(), twelve]);
}

#[tokio::test]
async fn subscription_returns_the_level_that_the_client_has_missed() {
    let gateway = Gateway::start().await;
    let lantern = new_product();
    let newest = level(lantern, 7, 30);
    // No connection watches the product yet.
    assert!(gateway.push_level(newest).await);
    let client = Client::connect(&gateway).await;
    let missed = [update(newest), subscribed(&[lantern])];
    assert_eq!(client.watch(&[lantern]).await, missed);
    assert_eq!(client.watch_from(&[lantern], 29).await, missed);
    assert_eq!(client.watch_from(&[lantern], 30).await, [subscribed(&[lantern])]);
    let twice =
        json!({"action": "subscribe", "products": [{"product_id": lantern}, {"product_id": lantern}]});
    assert_eq!(
        client.send(&twice).await,
        [update(newest), subscribed(&[lantern, lantern])]
    );
}

#[tokio::test]
async fn connection_watches_a_bounded_number_of_products() {
    let gateway = Gateway::start().await;
    let client = Client::connect(&gateway).await;
    let products: Vec<ProductId> = (0..=MAX_WATCHED_PRODUCTS).map(|_| new_product()).collect();
    let (watched, one_too_many) = products.split_at(MAX_WATCHED_PRODUCTS);
    for some in watched.chunks(20) {
        assert_eq!(client.watch(some).await, [subscribed(some)]);
    }
    let [refused] = client.watch(one_too_many).await.try_into().unwrap();
    assert_eq!(
        (&refused["type"], &refused["code"]),
        (&json!("ERROR"), &json!("too-many-products"))
    );
    assert_eq!(gateway.watchers(one_too_many[0]).await, BTreeSet::new());
    // Those that it watches already do not count again.
    assert_eq!(client.watch(&watched[..20]).await, [subscribed(&watched[..20])]);
    client
        .send(&json!({"action": "unsubscribe", "products": [watched[0]]}))
        .await;
    assert_eq!(client.watch(one_too_many).await, [subscribed(one_too_many)]);
}

#[tokio::test]
async fn concurrent_subscriptions_at_the_limit_remove_nothing() {
    let gateway = Gateway::start().await;
    let client = Client::connect(&gateway).await;
    let products: Vec<ProductId> = (0..MAX_WATCHED_PRODUCTS).map(|_| new_product()).collect();
    let (watched, last) = products.split_at(MAX_WATCHED_PRODUCTS - 10);
    for some in watched.chunks(20) {
        client.watch(some).await;
    }
    let entries: Vec<Value> = last.iter().map(|id| json!({"product_id": id})).collect();
    let subscribe = json!({"action": "subscribe", "products": entries});
    let unsubscribe = json!({"action": "unsubscribe", "products": last});
    // The messages do not meet each time in the same place.
    for _ in 0..7 {
        client.send(&unsubscribe).await;
        gateway.api.state().received.clear();
        gateway
            .receive_twice(&client.connection, client.user, client.issued_at, &subscribe)
            .await;
        assert_eq!(client.received(), [subscribed(last), subscribed(last)]);
        for product in last {
            assert_eq!(gateway.watchers(*product).await.len(), 1);
        }
    }
}

#[tokio::test]
async fn subscriptions_end_with_their_connection() {
    let gateway = Gateway::start().await;
    let products = [new_product(), new_product()];
    let (leaving, staying) = (Client::connect(&gateway).await, Client::connect(&gateway).await);
    leaving.watch(&products).await;
    staying.watch(&products[..1]).await;
    gateway
        .disconnect(&leaving.connection, leaving.user, leaving.issued_at)
        .await;
    assert_eq!(
        gateway.watchers(products[0]).await,
        BTreeSet::from([staying.connection.clone()])
    );
    assert_eq!(gateway.watchers(products[1]).await, BTreeSet::new());

    // `$disconnect` did not arrive.
    gateway.api.state().open.remove(&staying.connection);
    assert!(gateway.push_level(level(products[0], 1, 1)).await);
    assert_eq!(gateway.watchers(products[0]).await, BTreeSet::new());
}

#[tokio::test]
async fn push_is_repeated_after_a_failure() {
    let gateway = Gateway::start().await;
    let lantern = new_product();
    let client = Client::connect(&gateway).await;
    client.watch(&[lantern]).await;
    gateway.api.state().received.clear();
    gateway.api.state().is_down = true;
    assert!(!gateway.push_level(level(lantern, 5, 1)).await);
    gateway.api.state().is_down = false;
    assert!(gateway.push_level(level(lantern, 5, 1)).await);
    assert_eq!(client.received(), [update(level(lantern, 5, 1))]);
}

#[tokio::test]
async fn hundreds_of_connections_receive_a_level() {
    let gateway = Gateway::start().await;
    let lantern = new_product();
    let mut connections = BTreeSet::new();
    for _ in 0..300 {
        let client = Client::connect(&gateway).await;
        client.watch(&[lantern]).await;
        connections.insert(client.connection);
    }
    gateway.api.state().received.clear();
    assert!(gateway.push_level(level(lantern, 1, 1)).await);
    let received = gateway.api.state().received.clone();
    assert_eq!(received.len(), connections.len());
    assert_eq!(
        received.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>(),
        connections
    );
}

#[tokio::test]
async fn clients_whose_connection_is_not_registered_watch_nothing() {
    let gateway = Gateway::start().await;
    let lantern = new_product();
    let client = Client::connect(&gateway).await;
    gateway
        .revoke_tokens(client.user, client.issued_at + TimeDelta::milliseconds(1))
        .await;
    assert_eq!(client.watch(&[lantern]).await, Vec::<Value>::new());
    assert_eq!(gateway.watchers(lantern).await, BTreeSet::new());
}

#[tokio::test]
async fn malformed_announcements_fail() {
    let gateway = Gateway::start().await;
    for message in [
        json!({}),
        json!({"product_id": "1", "available": 1, "version": 1}),
        json!({"product_id": new_product(), "available": 1, "version": 1, "more": 1}),
    ] {
        assert!(
            !gateway.deliver_levels(std::slice::from_ref(&message)).await,
            "{message}"
        );
    }
}
