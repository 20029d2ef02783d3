//! Seeding the catalog from a file.

use core_api::catalog::{SeedProduct, SeedSummary, seed};
use database::{Role, testing::pool_of_role};
use domain::Clock;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

fn seed_products() -> Vec<Value> {
    let product = |number: u32, name: &str| {
        json!({
            "id": format!("019d4657-0000-73a1-9745-{number:012}"), "name": name, "description": "As it is.",
            "translations": {"ja": {"name": "急須", "description": "そのまま。"}}, "price": 4_800,
            "currency": "JPY", "tax_rate": "reduced", "category": "tea-ware", "image_url": null, "quantity": 25,
        })
    };
    vec![
        product(1, "Teapot"),
        product(2, "Tea bowl"),
        product(3, "Tea caddy"),
    ]
}

async fn run_seed(pool: &PgPool, products: &[Value]) -> SeedSummary {
    let products: Vec<SeedProduct> = serde_json::from_value(products.into()).unwrap();
    let pool = pool_of_role(pool, Role::CoreApi);
    seed(&pool, &Clock::system(), &products).await.unwrap()
}

async fn event_summaries(app: &TestApp) -> Vec<String> {
    let events = app.product_outbox_events().await.into_iter();
    let mut summaries: Vec<String> = events
        .map(|(detail_type, event)| format!("{detail_type} {}", event["data"]["name"]))
        .collect();
    summaries.sort();
    summaries
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn seed_creates_products_with_events_and_is_idempotent(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let first = run_seed(&pool, &seed_products()).await;
    assert_eq!(first.to_string(), "3 products: 3 created, 0 updated, 0 unchanged");
    let created = [
        "ProductCreated \"Tea bowl\"",
        "ProductCreated \"Tea caddy\"",
        "ProductCreated \"Teapot\"",
    ];
    assert_eq!(event_summaries(&app).await, created);
    let before = app.get("/v1/products").fetch().await;
    assert_eq!(before.body["items"][0]["translations"]["ja"]["name"], "急須");
    assert_eq!(before.body["items"][0]["tax_rate"], "reduced");

    let second = run_seed(&pool, &seed_products()).await;
    assert_eq!(
        second.to_string(),
        "3 products: 0 created, 0 updated, 3 unchanged"
    );
    assert_eq!(app.get("/v1/products").fetch().await.body, before.body);
    assert_eq!(event_summaries(&app).await, created);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn seed_updates_only_changed_products_of_the_file(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let other_product = app.create_product("Iron kettle", 16_800).await;
    let mut products = seed_products();
    run_seed(&pool, &products).await;
    let removed = format!("/v1/products/{}", products[2]["id"].as_str().unwrap());
    app.delete(&removed)
        .bearer_auth(&app.admin_token)
        .header("If-Match", "\"1\"")
        .fetch()
        .await;

    products[1]["price"] = json!(5_200);
    products[2]["price"] = json!(1);
    let again = run_seed(&pool, &products).await;
    assert_eq!(again.to_string(), "3 products: 0 created, 1 updated, 2 unchanged");
    let changed = app
        .get(format!("/v1/products/{}", products[1]["id"].as_str().unwrap()))
        .fetch()
        .await;
    assert_eq!(
        (changed.header("etag"), &changed.body["price"]),
        ("\"2\"", &json!(5_200))
    );
    assert!(
        event_summaries(&app)
            .await
            .contains(&"ProductUpdated \"Tea bowl\"".to_owned())
    );
    assert_eq!(
        app.get(&removed).fetch().await.status,
        404,
        "seeding does not restore a removed product"
    );
    assert_eq!(
        app.get(format!("/v1/products/{other_product}"))
            .fetch()
            .await
            .header("etag"),
        "\"1\""
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn seed_applies_a_file_completely_or_not_at_all(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let mut with_duplicate = seed_products();
    with_duplicate.push(with_duplicate[0].clone());
    let products: Vec<SeedProduct> = serde_json::from_value(with_duplicate.into()).unwrap();
    assert!(
        seed(&pool, &Clock::system(), &products).await.is_err(),
        "the file contains a product twice"
    );
    assert_eq!(app.get("/v1/products").fetch().await.body["items"], json!([]));
    assert!(event_summaries(&app).await.is_empty());

    let mut unknown_field = seed_products();
    unknown_field[0]["colour"] = json!("red");
    assert!(serde_json::from_value::<Vec<SeedProduct>>(unknown_field.into()).is_err());
}

#[test]
fn catalog_fixture_is_valid() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/catalog/products.json"
    );
    let products: Vec<SeedProduct> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(products.len() >= 300);
}
