//! core-api rejects invalid order requests with a specific problem, and creates no order.

use domain::ProductId;
use reqwest::Method;
use serde_json::{Value, json};

use e2e::system::{ApiCaller, ApiResponse, TestSystem, send};

fn order_body(items: Value) -> Value {
    json!({"items": items, "payment_method": "pm_card_visa"})
}

async fn post_raw_order(
    system: &TestSystem,
    caller: &ApiCaller,
    content_type: &str,
    body: String,
) -> ApiResponse {
    let request = system
        .core_api_request(Method::POST, "/v1/orders")
        .bearer_auth(&caller.token);
    send(
        request
            .header("Idempotency-Key", "one")
            .header("Content-Type", content_type)
            .body(body),
    )
    .await
}

async fn order_count(system: &TestSystem, caller: &ApiCaller) -> usize {
    let list = send(
        system
            .core_api_request(Method::GET, "/v1/orders")
            .bearer_auth(&caller.token),
    )
    .await
    .expect_status(200);
    list["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn rejects_malformed_and_oversized_bodies() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let json = "application/json";
    let post =
        async |content_type: &str, body: String| post_raw_order(&system, &customer, content_type, body).await;

    assert_eq!(
        post(json, "{\"items\":[".to_owned()).await.expect_problem(400),
        "malformed-json"
    );
    assert_eq!(
        post(json, String::new()).await.expect_problem(400),
        "malformed-json"
    );
    assert_eq!(
        post("text/plain", order_body(json!([])).to_string())
            .await
            .expect_problem(415),
        "unsupported-media-type"
    );
    let padded = format!(
        "{{\"items\":[],{}\"payment_method\":\"pm_card_visa\"}}",
        " ".repeat(100_000)
    );
    assert_eq!(post(json, padded).await.expect_problem(413), "body-too-large");
    let deep = format!("{{\"items\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(post(json, deep).await.status.is_client_error());
    for body in ["null", "[]", "\"order\"", "17", "true"] {
        assert_eq!(
            post(json, body.to_owned()).await.expect_problem(422),
            "invalid-body",
            "{body}"
        );
    }
    assert_eq!(order_count(&system, &customer).await, 0);
}

#[tokio::test]
async fn rejects_invalid_orders() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(100, 10).await;
    let line = |quantity: Value| json!({"product_id": lantern, "quantity": quantity});
    let lines = |count: usize| order_body(json!(vec![line(json!(1)); count]));

    let invalid = [
        order_body(json!([])),
        order_body(json!([line(json!(0))])),
        order_body(json!([line(json!(-1))])),
        order_body(json!([line(json!(1.5))])),
        order_body(json!([line(json!("two"))])),
        order_body(json!([line(json!(10_000))])),
        order_body(json!([line(json!(u64::MAX))])),
        order_body(json!([{"product_id": lantern}])),
        order_body(json!([{"product_id": "lantern", "quantity": 1}])),
        order_body(json!([{"product_id": ProductId::new(system.now()), "quantity": 1}])),
        order_body(json!([{"product_id": lantern, "quantity": 1, "price": 1}])),
        order_body(json!([[]])),
        json!({"items": [line(json!(1))]}),
        json!({"items": [line(json!(1))], "payment_method": ""}),
        json!({"items": [line(json!(1))], "payment_method": 4242}),
        json!({"items": [line(json!(1))], "payment_method": "pm_card_visa", "total_amount": 1}),
        json!({"items": [line(json!(1))], "payment_method": "pm_card_visa\r\nX-Injected: 1"}),
        lines(101),
    ];
    for (number, body) in invalid.iter().enumerate() {
        let response = system.post_order(&customer, &format!("key {number}"), body).await;
        assert_eq!(response.status, 422, "{body} {}", response.body);
        assert!(
            response.body["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty()),
            "{}",
            response.body
        );
        response.expect_problem(422);
    }
    assert_eq!(order_count(&system, &customer).await, 0);
    assert_eq!(system.stock_quantities(&lantern).await, (10, 0));
    // A hundred lines are valid; their total quantity exceeds the stock.
    system
        .post_order(&customer, "a hundred lines", &lines(100))
        .await
        .expect_status(202);
}

#[tokio::test]
async fn rejects_missing_and_reused_idempotency_keys() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(100, 10).await;
    let one = order_body(json!([{"product_id": lantern, "quantity": 1}]));
    let two = order_body(json!([{"product_id": lantern, "quantity": 2}]));

    let without = system
        .core_api_request(Method::POST, "/v1/orders")
        .bearer_auth(&customer.token)
        .json(&one);
    assert_eq!(
        send(without).await.expect_problem(400),
        "idempotency-key-required"
    );
    let with_long_key = system.post_order(&customer, &"k".repeat(256), &one).await;
    assert!(with_long_key.status.is_client_error());

    let first = system.post_order(&customer, "key", &one).await.expect_status(202);
    assert_eq!(
        system.post_order(&customer, "key", &one).await.expect_status(202),
        first
    );
    assert_eq!(
        system
            .post_order(&customer, "key", &two)
            .await
            .expect_problem(422),
        "idempotency-key-reused"
    );
    assert_eq!(order_count(&system, &customer).await, 1);
    let order_id = first["order_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
    assert_eq!(
        system.post_order(&customer, "key", &one).await.expect_status(202),
        first,
        "a repeated request returns the first response"
    );
    assert_eq!(system.stock_quantities(&lantern).await, (9, 0));
}

#[tokio::test]
async fn only_administrators_change_the_catalog() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(100, 10).await;
    let product = json!({"name": "Mine", "description": "Mine.", "price": 1, "category": "tea"});
    let path = format!("/v1/products/{lantern}");
    for request in [
        system
            .core_api_request(Method::POST, "/v1/products")
            .json(&product),
        system
            .core_api_request(Method::PATCH, &path)
            .header("If-Match", "\"1\"")
            .json(&json!({"price": 1})),
        system
            .core_api_request(Method::DELETE, &path)
            .header("If-Match", "\"1\""),
    ] {
        let unauthenticated = request.try_clone().unwrap();
        assert_eq!(send(unauthenticated).await.expect_problem(401), "unauthorized");
        assert_eq!(
            send(request.bearer_auth(&customer.token))
                .await
                .expect_problem(403),
            "forbidden"
        );
    }
    assert_eq!(
        send(system.core_api_request(Method::GET, &path))
            .await
            .expect_status(200)["price"],
        100
    );
}
