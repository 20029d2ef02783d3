//! The Idempotency-Key of `POST /v1/orders`.

use std::collections::BTreeSet;

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

async fn start_app_with_order(pool: PgPool) -> (TestApp, Value) {
    let app = TestApp::start(pool).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let body = json!({"items": [{"product_id": bowl, "quantity": 2}], "payment_method": "pm_card_visa"});
    (app, body)
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn twenty_concurrent_requests_with_one_key_place_one_order(pool: PgPool) {
    let (app, body) = start_app_with_order(pool).await;
    let token = app.customer().await.token();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        tasks.spawn(app.order_request(&token, "the same", &body).fetch());
    }
    let responses = tasks.join_all().await;

    let (accepted, refused): (Vec<_>, Vec<_>) =
        responses.into_iter().partition(|response| response.status == 202);
    assert!(!accepted.is_empty());
    for response in &accepted {
        assert_eq!(
            (&response.body, response.header("location")),
            (&accepted[0].body, accepted[0].header("location"))
        );
    }
    for response in refused {
        assert_eq!(response.problem(), "409 request-in-progress");
        assert_eq!(response.header("retry-after"), "1");
    }
    let listed = app.get("/v1/orders").bearer_auth(&token).fetch().await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(app.order_outbox_events().await.len(), 1);
    let later = app.order_request(&token, "the same", &body).fetch().await;
    assert_eq!((later.status, &later.body), (202, &accepted[0].body));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn repeated_request_gets_the_first_response_after_cancellation(pool: PgPool) {
    let (app, body) = start_app_with_order(pool).await;
    let token = app.customer().await.token();
    let first = app.order_request(&token, "key", &body).fetch().await;
    app.post(format!("{}/cancel", first.header("location")))
        .bearer_auth(&token)
        .fetch()
        .await;

    let again = app.order_request(&token, "key", &body).fetch().await;
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert_eq!(
        app.order_outbox_events().await.len(),
        2,
        "OrderCreated and OrderCancelled"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn repeated_request_gets_the_first_response_after_product_removal(pool: PgPool) {
    let (app, body) = start_app_with_order(pool).await;
    let token = app.customer().await.token();
    let first = app.order_request(&token, "key", &body).fetch().await;
    let product = format!(
        "/v1/products/{}",
        body["items"][0]["product_id"].as_str().unwrap()
    );
    let too_expensive = json!({"price": 99_999_999});
    let change = app
        .patch(&product)
        .bearer_auth(&app.admin_token)
        .header("If-Match", "*")
        .json(&too_expensive);
    assert_eq!(change.fetch().await.status, 200);
    let again = app.order_request(&token, "key", &body).fetch().await;
    assert_eq!(
        format!("{again:?}"),
        format!("{first:?}"),
        "also when the new price exceeds the maximum order total"
    );

    let removal = app
        .delete(&product)
        .bearer_auth(&app.admin_token)
        .header("If-Match", "*");
    assert_eq!(removal.fetch().await.status, 204);
    let again = app.order_request(&token, "key", &body).fetch().await;
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert_eq!(
        app.order_request(&token, "another key", &body)
            .fetch()
            .await
            .status,
        422
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_a_key_with_a_different_request(pool: PgPool) {
    let (app, body) = start_app_with_order(pool).await;
    let token = app.customer().await.token();
    assert_eq!(app.order_request(&token, "key", &body).fetch().await.status, 202);
    let mut other_quantity = body.clone();
    other_quantity["items"][0]["quantity"] = json!(3);
    assert_json_snapshot!(app.order_request(&token, "key", &other_quantity).fetch().await, @r#"
    {
      "status": 422,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "Use a new key for a new request. Reuse a key only to repeat the same request.",
        "status": 422,
        "title": "Idempotency-Key reused with a different request",
        "type": "https://matsuri.dev/problems/idempotency-key-reused"
      }
    }
    "#);
    let mut other_card = body.clone();
    other_card["payment_method"] = json!("pm_card_mastercard");
    let response = app.order_request(&token, "key", &other_card).fetch().await;
    assert_eq!(response.problem(), "422 idempotency-key-reused");
    assert_eq!(app.order_outbox_events().await.len(), 1);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn keys_are_scoped_to_the_customer(pool: PgPool) {
    let (app, body) = start_app_with_order(pool).await;
    let mut orders = BTreeSet::new();
    for _ in 0..3 {
        let placed = app
            .order_request(&app.customer().await.token(), "order 1", &body)
            .fetch()
            .await;
        assert_eq!(placed.status, 202);
        orders.insert(placed.body_str("order_id"));
    }
    assert_eq!(orders.len(), 3);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn accepts_keys_of_1_to_255_printable_ascii_characters(pool: PgPool) {
    let (app, body) = start_app_with_order(pool).await;
    let token = app.customer().await.token();
    for key in ["a", "with spaces, \"quotes\" and ~", &"k".repeat(255)] {
        assert_eq!(
            app.order_request(&token, key, &body).fetch().await.status,
            202,
            "{key}"
        );
    }
    let without_key = app
        .post("/v1/orders")
        .bearer_auth(&token)
        .json(&body)
        .fetch()
        .await;
    assert_json_snapshot!(without_key, @r#"
    {
      "status": 400,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "Send one header Idempotency-Key with 1 to 255 printable ASCII characters.",
        "status": 400,
        "title": "Idempotency-Key header required",
        "type": "https://matsuri.dev/problems/idempotency-key-required"
      }
    }
    "#);
    for key in [" ", "tab\there", "schlüssel", &"k".repeat(256)] {
        let response = app.order_request(&token, key, &body).fetch().await;
        assert_eq!(response.problem(), "400 idempotency-key-required", "{key}");
    }
    let two_keys = app
        .order_request(&token, "one", &body)
        .header("Idempotency-Key", "two")
        .fetch()
        .await;
    assert_eq!(two_keys.problem(), "400 idempotency-key-required");
}
