//! The list of a customer's orders.

use serde_json::json;
use sqlx::PgPool;

use crate::{
    orders::TestShop,
    support::{RequestBuilderExt, TestApp},
};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn lists_orders_newest_first_in_pages(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let (token, other) = (
        shop.app.customer().await.token(),
        shop.app.customer().await.token(),
    );
    let mut placed = Vec::new();
    for number in 0..5 {
        placed.insert(0, shop.place_order(&token, &format!("order {number}")).await);
    }
    shop.place_order(&other, "order").await;
    shop.place_order(&other, "another").await;

    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = shop.get(&token, &format!("/v1/orders{query}")).await;
        for order in page.body["items"].as_array().unwrap() {
            seen.push(format!("/v1/orders/{}", order["order_id"].as_str().unwrap()));
            assert!(order.get("history").is_none(), "a list omits the history");
        }
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={next}");
        // A new order sorts before this page, so it must not shift the next one.
        shop.place_order(&token, &format!("after {}", seen.len())).await;
    }
    assert_eq!(seen, placed);

    let first_page = shop.get(&other, "/v1/orders?limit=1").await;
    let other_cursor = format!("/v1/orders?cursor={}", first_page.body_str("next_cursor"));
    assert_eq!(shop.get(&other, &other_cursor).await.status, 200);
    assert_eq!(
        shop.get(&token, &other_cursor).await.problem(),
        "400 invalid-cursor"
    );
    for (query, problem) in [
        ("limit=0", "400 invalid-query"),
        ("limit=101", "400 invalid-query"),
        ("page=2", "400 invalid-query"),
    ] {
        assert_eq!(
            shop.get(&token, &format!("/v1/orders?{query}")).await.problem(),
            problem
        );
    }
}

/// Eleven of these orders fill a page of DynamoDB, which ends at one megabyte.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn lists_all_orders_when_they_exceed_a_page_of_dynamodb(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    let longest_name = "🏮".repeat(200);
    assert_eq!(longest_name.len(), 800);
    let lantern = app.create_product(&longest_name, 100).await;
    let body = json!({
        "items": vec![json!({"product_id": lantern, "quantity": 1}); 100],
        "payment_method": "pm_card_visa",
    });
    let mut placed = Vec::new();
    for number in 0..12 {
        let response = app
            .order_request(&token, &format!("order {number}"), &body)
            .fetch()
            .await;
        assert_eq!(
            response.status, 202,
            "the largest order fits into an item: {response:?}"
        );
        placed.insert(0, response.body_str("order_id"));
    }

    for limit in [100, 12, 11, 5] {
        let (mut seen, mut query) = (Vec::new(), format!("?limit={limit}"));
        loop {
            let page = app
                .get(format!("/v1/orders{query}"))
                .bearer_auth(&token)
                .fetch()
                .await;
            for order in page.body["items"].as_array().unwrap() {
                seen.push(order["order_id"].as_str().unwrap().to_owned());
            }
            let Some(next) = page.body["next_cursor"].as_str() else {
                break;
            };
            query = format!("?limit={limit}&cursor={next}");
        }
        assert_eq!(seen, placed, "limit {limit}");
    }
}
