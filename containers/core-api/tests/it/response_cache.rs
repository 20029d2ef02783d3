//! Reads that are answered again without the database: how old such an answer may be, and what never sees one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::{RequestBuilderExt, TestApp, TestResponse};

/// Longer than an answer is kept, on the slowest of machines.
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

/// Every read that shows a product.
async fn displayed_prices(app: &TestApp, id: &str) -> [Value; 3] {
    let product = app.get(format!("/v1/products/{id}")).fetch().await;
    let list = app.get("/v1/products").fetch().await;
    let dear = app.get("/v1/products?min_price=1000").fetch().await;
    [
        product.body["price"].clone(),
        list.body["items"][0]["price"].clone(),
        dear.body["items"][0]["price"].clone(),
    ]
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn who_changes_a_product_reads_the_change(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product("Tea bowl", 100).await;
    // Each of these would be answered from what the one before has left behind.
    for price in [2000, 100, 3000, 100, 4000] {
        let before = displayed_prices(&app, &id).await;
        assert_ne!(before[0], json!(price));
        assert_eq!(change_price(&app, &id, price).await.status, 200);
        let dear = if price < 1000 { Value::Null } else { json!(price) };
        assert_eq!(
            displayed_prices(&app, &id).await,
            [json!(price), json!(price), dear]
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
async fn a_change_made_elsewhere_is_seen_soon_and_an_order_has_it_at_once(pool: PgPool) {
    let (here, elsewhere) = (TestApp::start(pool.clone()).await, TestApp::start(pool).await);
    let id = here.create_product("Tea bowl", 100).await;
    displayed_prices(&here, &id).await;
    assert_eq!(change_price(&elsewhere, &id, 250).await.status, 200);

    let order = json!({"items": [{"product_id": id, "quantity": 1}], "payment_method": "pm_card_visa"});
    let key = Uuid::nil().to_string();
    let placed = here
        .order_request(&here.customer().await.token(), &key, &order)
        .fetch()
        .await;
    assert_eq!((placed.status, &placed.body["total_amount"]), (202, &json!(250)));

    let changed = Instant::now();
    while displayed_prices(&here, &id).await[..2] != [json!(250), json!(250)] {
        assert!(changed.elapsed() < TIMEOUT, "the old price stays");
        sleep(Duration::from_millis(20)).await;
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_database_is_not_asked_for_what_was_just_answered(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    app.create_product("Tea bowl", 100).await;
    // Between two reads that are close enough together; a slow machine has more than one chance.
    let began = Instant::now();
    loop {
        let before = app.get("/v1/products").fetch().await;
        sqlx::query("UPDATE products SET price = price + 1")
            .execute(&pool)
            .await
            .unwrap();
        let after = app.get("/v1/products").fetch().await;
        if before.body == after.body {
            break;
        }
        assert!(began.elapsed() < TIMEOUT, "every read asks the database");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_list_that_is_known_is_not_sent_again(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product("Tea bowl", 100).await;
    let known = app.get("/v1/products").fetch().await.header("etag").to_owned();
    let again = async || {
        let ask = app.get("/v1/products").header("If-None-Match", &known);
        ask.fetch().await.status
    };
    assert_eq!(again().await, 304);
    change_price(&app, &id, 200).await;
    assert_eq!(again().await, 200);

    let head = app.request(reqwest::Method::HEAD, "/v1/products").fetch().await;
    assert_eq!((head.status, head.body), (200, Value::Null));
    let whole = app.get("/v1/products").fetch().await;
    assert_eq!(
        whole.body["items"][0]["price"], 200,
        "a HEAD leaves no empty answer behind"
    );
}
