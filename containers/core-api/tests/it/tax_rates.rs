//! The tax rate of a product, and the tax of an order.

use serde_json::json;
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn order_keeps_the_rates_and_has_the_tax_of_each(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    let product = |name: &str, price: i64, tax_rate: &str| json!({"name": name, "description": "", "price": price, "tax_rate": tax_rate, "category": "tea"});
    let tea = app.create_product_with(product("Tea", 337, "reduced")).await;
    let sweets = app.create_product_with(product("Sweets", 1_010, "reduced")).await;
    let bowl = app.create_product("Tea bowl", 5_999).await;
    let order = json!({
        "items": [
            {"product_id": tea, "quantity": 3},
            {"product_id": bowl, "quantity": 1},
            {"product_id": sweets, "quantity": 1},
        ],
        "payment_method": "pm_card_visa",
    });
    let placed = app.order_request(&token, "key", &order).fetch().await;
    assert_eq!(placed.status, 202, "{placed:?}");

    // Of 2,021 yen, 149.70 are tax at 8/108; rounding each line would give 74 + 74 = 148. Of 5,999 yen,
    // 545.36 are tax at 10/110.
    let tax = |rate: &str, percent: u8, total: i64, tax: i64| json!({"tax_rate": rate, "percent": percent, "total_amount": total, "tax_amount": tax});
    let taxes = json!([tax("standard", 10, 5_999, 545), tax("reduced", 8, 2_021, 149)]);
    assert_eq!(
        (&placed.body["taxes"], &placed.body["total_amount"]),
        (&taxes, &json!(8_020))
    );

    // The rate of sweets changes afterwards.
    let changed = app
        .patch(format!("/v1/products/{sweets}"))
        .bearer_auth(&app.admin_token)
        .header("If-Match", "*")
        .json(&json!({"tax_rate": "standard"}))
        .fetch()
        .await;
    assert_eq!(
        (changed.status, changed.body_str("tax_rate")),
        (200, "standard".to_owned())
    );
    let read = app
        .get(placed.header("location"))
        .bearer_auth(&token)
        .fetch()
        .await;
    let rates = |index: usize| read.body["items"][index]["tax_rate"].clone();
    assert_eq!([rates(0), rates(1), rates(2)], ["reduced", "standard", "reduced"]);
    assert_eq!(read.body["taxes"], taxes);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn checkout_copies_the_rates_as_well(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    let tea = json!({
        "name": "Tea", "description": "", "price": 1_080, "tax_rate": "reduced", "category": "tea",
    });
    let tea = app.create_product_with(tea).await;
    app.set_stock(&tea, 5).await;
    let put = app.put(format!("/v1/cart/items/{tea}")).bearer_auth(&token);
    assert_eq!(put.json(&json!({"quantity": 2})).fetch().await.status, 200);
    let checkout = app.post("/v1/cart/checkout").bearer_auth(&token);
    let placed = checkout
        .header("Idempotency-Key", "key")
        .json(&json!({"payment_method": "pm_card_visa"}))
        .fetch()
        .await;
    assert_eq!(placed.status, 202, "{placed:?}");
    assert_eq!(placed.body["items"][0]["tax_rate"], "reduced");
    assert_eq!(placed.body["taxes"][0]["tax_amount"], 160);
}
