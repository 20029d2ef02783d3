//! One effect per key.

use futures::future::join_all;

use crate::support::TestApp;

const CREATE_PARAMS: [(&str, &str); 3] = [
    ("amount", "1500"),
    ("currency", "jpy"),
    ("payment_method", "pm_card_visa"),
];

#[tokio::test]
async fn the_same_request_gets_its_first_answer_again() {
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

    // The first answer, not the present state: so it is with Stripe.
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
async fn a_refusal_that_was_carried_out_is_an_answer_too() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_card_chargeDeclined").await;
    let path = format!("/v1/payment_intents/{id}/confirm");

    let first = client.post_with_key("confirm", &path, &[]).await;
    let again = client.post_with_key("confirm", &path, &[]).await;
    assert_eq!((first.status, first.replayed), (402, false));
    assert_eq!((again.status, again.replayed), (402, true));
    assert_eq!(first.body, again.body, "no second charge was tried");
}

#[tokio::test]
async fn what_fails_validation_does_not_use_up_its_key() {
    let server = TestApp::start().await;
    let client = &server.client;
    let wrong = client
        .post_with_key("create", "/v1/payment_intents", &[("amount", "1500")])
        .await;
    assert_eq!(
        wrong.error(),
        (400, "invalid_request_error", "parameter_missing", "currency")
    );
    let right = client
        .post_with_key("create", "/v1/payment_intents", &CREATE_PARAMS)
        .await;
    assert_eq!((right.status, right.replayed), (200, false));
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
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
    let answer = client
        .post_with_key("key", "/v1/payment_intents", &other_amount)
        .await;
    assert_eq!(answer.error(), (400, "idempotency_error", "", ""));
    let answer = client
        .post_with_key("key", &format!("/v1/payment_intents/{id}/confirm"), &[])
        .await;
    assert_eq!(answer.error(), (400, "idempotency_error", "", ""));
    assert_eq!(
        client.find_payment(&id).await.status_and_state(),
        (200, "requires_confirmation")
    );
}

#[tokio::test]
async fn a_key_that_is_under_way_is_a_conflict() {
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
async fn a_hundred_at_once_have_one_effect() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_card_visa").await;
    client.confirm(&id).await;

    let params = [("payment_intent", id.as_str())];
    let answers = join_all((0..100).map(|_| client.post_with_key("refund", "/v1/refunds", &params))).await;
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.status == 200 && !answer.replayed)
            .count(),
        1
    );
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
    assert_eq!(
        client.get("/v1/refunds").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
