//! Bad input of every kind finds a clear refusal, and nothing comes of it.

use domain::ProductId;
use reqwest::Method;
use serde_json::{Value, json};

use e2e::system::{Answer, Person, System, send};

fn order(items: Value) -> Value {
    json!({"items": items, "payment_method": "pm_card_visa"})
}

async fn post_text(system: &System, person: &Person, content_type: &str, body: String) -> Answer {
    let request = system.api(Method::POST, "/v1/orders").bearer_auth(&person.token);
    send(
        request
            .header("Idempotency-Key", "one")
            .header("Content-Type", content_type)
            .body(body),
    )
    .await
}

async fn number_of_orders(system: &System, person: &Person) -> usize {
    let list = send(system.api(Method::GET, "/v1/orders").bearer_auth(&person.token))
        .await
        .expect(200);
    list["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_body_that_is_not_an_order() {
    let system = System::shared().await;
    let customer = system.customer().await;
    let json = "application/json";
    let post =
        async |content_type: &str, body: String| post_text(&system, &customer, content_type, body).await;

    assert_eq!(
        post(json, "{\"items\":[".to_owned()).await.problem(400),
        "malformed-json"
    );
    assert_eq!(post(json, String::new()).await.problem(400), "malformed-json");
    assert_eq!(
        post("text/plain", order(json!([])).to_string())
            .await
            .problem(415),
        "unsupported-media-type"
    );
    let padded = format!(
        "{{\"items\":[],{}\"payment_method\":\"pm_card_visa\"}}",
        " ".repeat(100_000)
    );
    assert_eq!(post(json, padded).await.problem(413), "body-too-large");
    let deep = format!("{{\"items\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(post(json, deep).await.status.is_client_error());
    for body in ["null", "[]", "\"order\"", "17", "true"] {
        assert_eq!(
            post(json, body.to_owned()).await.problem(422),
            "invalid-body",
            "{body}"
        );
    }
    assert_eq!(number_of_orders(&system, &customer).await, 0);
}

#[tokio::test]
async fn an_order_that_cannot_be() {
    let system = System::shared().await;
    let customer = system.customer().await;
    let lantern = system.product(100, 10).await;
    let line = |quantity: Value| json!({"product_id": lantern, "quantity": quantity});
    let lines = |count: usize| order(json!(vec![line(json!(1)); count]));

    let refused = [
        order(json!([])),
        order(json!([line(json!(0))])),
        order(json!([line(json!(-1))])),
        order(json!([line(json!(1.5))])),
        order(json!([line(json!("two"))])),
        order(json!([line(json!(10_000))])),
        order(json!([line(json!(u64::MAX))])),
        order(json!([{"product_id": lantern}])),
        order(json!([{"product_id": "lantern", "quantity": 1}])),
        order(json!([{"product_id": ProductId::new(system.now()), "quantity": 1}])),
        order(json!([{"product_id": lantern, "quantity": 1, "price": 1}])),
        order(json!([[]])),
        json!({"items": [line(json!(1))]}),
        json!({"items": [line(json!(1))], "payment_method": ""}),
        json!({"items": [line(json!(1))], "payment_method": 4242}),
        json!({"items": [line(json!(1))], "payment_method": "pm_card_visa", "total_amount": 1}),
        json!({"items": [line(json!(1))], "payment_method": "pm_card_visa\r\nX-Injected: 1"}),
        lines(101),
    ];
    for (number, body) in refused.iter().enumerate() {
        let answer = system.post_order(&customer, &format!("key {number}"), body).await;
        assert_eq!(answer.status, 422, "{body} {}", answer.body);
        assert!(
            answer.body["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty()),
            "{}",
            answer.body
        );
        answer.problem(422);
    }
    assert_eq!(number_of_orders(&system, &customer).await, 0);
    assert_eq!(system.stock(&lantern).await, (10, 0));
    // A hundred lines are an order; together they ask for more than there is.
    system
        .post_order(&customer, "a hundred lines", &lines(100))
        .await
        .expect(202);
}

#[tokio::test]
async fn an_idempotency_key_that_is_missing_or_used_again() {
    let system = System::shared().await;
    let customer = system.customer().await;
    let lantern = system.product(100, 10).await;
    let one = order(json!([{"product_id": lantern, "quantity": 1}]));
    let two = order(json!([{"product_id": lantern, "quantity": 2}]));

    let without = system
        .api(Method::POST, "/v1/orders")
        .bearer_auth(&customer.token)
        .json(&one);
    assert_eq!(send(without).await.problem(400), "idempotency-key-required");
    let endless = system.post_order(&customer, &"k".repeat(256), &one).await;
    assert!(endless.status.is_client_error());

    let first = system.post_order(&customer, "key", &one).await.expect(202);
    assert_eq!(system.post_order(&customer, "key", &one).await.expect(202), first);
    assert_eq!(
        system.post_order(&customer, "key", &two).await.problem(422),
        "idempotency-key-reused"
    );
    assert_eq!(number_of_orders(&system, &customer).await, 1);
    let order_id = first["order_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(system.settled(&customer, order_id).await["status"], "completed");
    assert_eq!(
        system.post_order(&customer, "key", &one).await.expect(202),
        first,
        "the first answer again"
    );
    assert_eq!(system.stock(&lantern).await, (9, 0));
}

#[tokio::test]
async fn the_catalogue_is_for_admins_to_change() {
    let system = System::shared().await;
    let customer = system.customer().await;
    let lantern = system.product(100, 10).await;
    let product = json!({"name": "Mine", "description": "Mine.", "price": 1, "category": "tea"});
    let path = format!("/v1/products/{lantern}");
    for request in [
        system.api(Method::POST, "/v1/products").json(&product),
        system
            .api(Method::PATCH, &path)
            .header("If-Match", "\"1\"")
            .json(&json!({"price": 1})),
        system.api(Method::DELETE, &path).header("If-Match", "\"1\""),
    ] {
        let anonymous = request.try_clone().unwrap();
        assert_eq!(send(anonymous).await.problem(401), "unauthorized");
        assert_eq!(
            send(request.bearer_auth(&customer.token)).await.problem(403),
            "forbidden"
        );
    }
    assert_eq!(
        send(system.api(Method::GET, &path)).await.expect(200)["price"],
        100
    );
}
