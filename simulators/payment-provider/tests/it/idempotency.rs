//! Idempotency keys: each key has at most one effect.

use futures::future::join_all;

use crate::support::TestApp;

const CREATE_PARAMS: [(&str, &str); 3] = [
    ("amount", "1500"),
    ("currency", "jpy"),
    ("payment_method", "pm_card_visa"),
];

#[tokio::test]
async fn a_repeated_request_gets_the_first_response_again() {
    let server = TestApp::start().await;
    let client = &server.client;

    let first = client
        .post_with_key("create", "/v1/payment_intents", &CREATE_PARAMS)
        .await;
    let mut other_order = CREATE_PARAMS;
    other_order.reverse();
    let again = client
        .post_with_key("create", "/v1/payment_intents", &other_order)
        .await;
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(
        client.get("/v1/payment_intents").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    // As with Stripe, the replayed response shows the first state of the payment, not the current one.
    client.confirm(&first.id()).await;
    assert_eq!(
        client
            .post_with_key("create", "/v1/payment_intents", &CREATE_PARAMS)
            .await
            .body,
        first.body
    );
}

#[tokio::test]
async fn a_declined_charge_is_replayed() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_card_chargeDeclined").await;
    let path = format!("/v1/payment_intents/{id}/confirm");

    let first = client.post_with_key("confirm", &path, &[]).await;
    let again = client.post_with_key("confirm", &path, &[]).await;
    assert_eq!((first.status, first.replayed), (402, false));
    assert_eq!((again.status, again.replayed), (402, true));
    assert_eq!(first.body, again.body, "no second charge was attempted");
}

#[tokio::test]
async fn a_validation_error_does_not_consume_the_key() {
    let server = TestApp::start().await;
    let client = &server.client;
    let invalid = client
        .post_with_key("create", "/v1/payment_intents", &[("amount", "1500")])
        .await;
    assert_eq!(
        invalid.error(),
        (400, "invalid_request_error", "parameter_missing", "currency")
    );
    let valid = client
        .post_with_key("create", "/v1/payment_intents", &CREATE_PARAMS)
        .await;
    assert_eq!((valid.status, valid.replayed), (200, false));
}

#[tokio::test]
async fn a_key_cannot_be_reused_for_a_different_request() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client
        .post_with_key("key", "/v1/payment_intents", &CREATE_PARAMS)
        .await
        .id();

    let other_amount = [
        ("amount", "1501"),
        ("currency", "jpy"),
        ("payment_method", "pm_card_visa"),
    ];
    let response = client
        .post_with_key("key", "/v1/payment_intents", &other_amount)
        .await;
    assert_eq!(response.error(), (400, "idempotency_error", "", ""));
    let response = client
        .post_with_key("key", &format!("/v1/payment_intents/{id}/confirm"), &[])
        .await;
    assert_eq!(response.error(), (400, "idempotency_error", "", ""));
    assert_eq!(
        client.find_payment(&id).await.status_and_state(),
        (200, "requires_confirmation")
    );
}

#[tokio::test]
async fn a_key_in_progress_is_a_conflict() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_slow").await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    let confirmation = client.start_slow_confirmation("confirm", &id).await;
    assert_eq!(confirmation.await.status_and_state(), (200, "succeeded"));
    let later = client.post_with_key("confirm", &path, &[]).await;
    assert_eq!((later.status, later.replayed), (200, true));
}

#[tokio::test]
async fn a_hundred_concurrent_requests_have_one_effect() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_card_visa").await;
    client.confirm(&id).await;

    let params = [("payment_intent", id.as_str())];
    let responses = join_all((0..100).map(|_| client.post_with_key("refund", "/v1/refunds", &params))).await;
    assert_eq!(
        responses
            .iter()
            .filter(|response| response.status == 200 && !response.replayed)
            .count(),
        1
    );
    assert!(
        responses
            .iter()
            .all(|response| matches!(response.status, 200 | 409))
    );
    assert_eq!(
        client.get("/v1/refunds").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
