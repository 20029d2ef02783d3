//! The response cache: how long a cached response may be stale, and which requests bypass it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::{RequestBuilderExt, TestApp, TestResponse};

/// Longer than the cache keeps a response, on any machine.
const TIMEOUT: Duration = Duration::from_secs(30);

async fn change_price(app: &TestApp, id: &str, price: i64) -> TestResponse {
    let change = app
        .patch(format!("/v1/products/{id}"))
        .bearer_auth(&app.admin_token);
    change
        .header("If-Match", "*")
        .json(&json!({"price": price}))
        .fetch()
        .await
}

/// The price of the product in every response that contains it.
async fn displayed_prices(app: &TestApp, id: &str) -> [Value; 3] {
    let product = app.get(format!("/v1/products/{id}")).fetch().await;
    let list = app.get("/v1/products").fetch().await;
    let filtered = app.get("/v1/products?min_price=1000").fetch().await;
    [
        product.body["price"].clone(),
        list.body["items"][0]["price"].clone(),
        filtered.body["items"][0]["price"].clone(),
    ]
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn client_reads_its_own_change_immediately(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product("Tea bowl", 100).await;
    // Each read would get the cached response of the read before, if the change did not invalidate it.
    for price in [2000, 100, 3000, 100, 4000] {
        let before = displayed_prices(&app, &id).await;
        assert_ne!(before[0], json!(price));
        assert_eq!(change_price(&app, &id, price).await.status, 200);
        let filtered_price = if price < 1000 { Value::Null } else { json!(price) };
        assert_eq!(
            displayed_prices(&app, &id).await,
            [json!(price), json!(price), filtered_price]
        );
    }
    assert_eq!(
        app.get("/v1/categories").fetch().await.body["items"][0]["count"],
        1
    );
    app.create_product("Tea caddy", 100).await;
    assert_eq!(
        app.get("/v1/categories").fetch().await.body["items"][0]["count"],
        2
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn change_by_another_instance_appears_soon_and_applies_to_orders_at_once(pool: PgPool) {
    let (app, other_instance) = (TestApp::start(pool.clone()).await, TestApp::start(pool).await);
    let id = app.create_product("Tea bowl", 100).await;
    displayed_prices(&app, &id).await;
    assert_eq!(change_price(&other_instance, &id, 250).await.status, 200);

    let order = json!({"items": [{"product_id": id, "quantity": 1}], "payment_method": "pm_card_visa"});
    let key = Uuid::nil().to_string();
    let placed = app
        .order_request(&app.customer().await.token(), &key, &order)
        .fetch()
        .await;
    assert_eq!((placed.status, &placed.body["total_amount"]), (202, &json!(250)));

    let changed = Instant::now();
    while displayed_prices(&app, &id).await[..2] != [json!(250), json!(250)] {
        assert!(
            changed.elapsed() < TIMEOUT,
            "the cache still returns the old price"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn repeated_read_is_served_from_the_cache(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    app.create_product("Tea bowl", 100).await;
    // The second read must come before the cache entry expires, so a slow machine tries again.
    let started = Instant::now();
    loop {
        let before = app.get("/v1/products").fetch().await;
        sqlx::query("UPDATE catalog.products SET price = price + 1")
            .execute(&pool)
            .await
            .unwrap();
        let after = app.get("/v1/products").fetch().await;
        if before.body == after.body {
            break;
        }
        assert!(started.elapsed() < TIMEOUT, "every read queries the database");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn if_none_match_returns_304_for_an_unchanged_list(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product("Tea bowl", 100).await;
    let etag = app.get("/v1/products").fetch().await.header("etag").to_owned();
    let status = async || {
        let request = app.get("/v1/products").header("If-None-Match", &etag);
        request.fetch().await.status
    };
    assert_eq!(status().await, 304);
    change_price(&app, &id, 200).await;
    assert_eq!(status().await, 200);

    let head = app.request(reqwest::Method::HEAD, "/v1/products").fetch().await;
    assert_eq!((head.status, head.body), (200, Value::Null));
    let complete = app.get("/v1/products").fetch().await;
    assert_eq!(
        complete.body["items"][0]["price"], 200,
        "HEAD does not cache an empty response"
    );
}
