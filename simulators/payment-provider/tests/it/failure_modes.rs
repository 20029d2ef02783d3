//! The payment methods that inject failures: what the client sees, and what took effect.

use std::time::Duration;

use reqwest::Method;

use crate::support::{TestApp, UNAVAILABLE_SECONDS};

#[tokio::test]
async fn error_before_effect_fails_once_and_the_retry_is_executed() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_error_before_effect").await;
    let path = format!("/v1/payment_intents/{id}/confirm");

    let first = client.post_with_key("confirm", &path, &[]).await;
    assert_eq!(first.error(), (500, "api_error", "", ""));
    assert_eq!(
        client.find_payment(&id).await.status_and_state(),
        (200, "requires_confirmation")
    );

    let retry = client.post_with_key("confirm", &path, &[]).await;
    assert_eq!(
        (retry.status_and_state(), retry.replayed),
        ((200, "succeeded"), false)
    );
}

#[tokio::test]
async fn error_after_effect_breaks_the_connection_and_the_retry_is_replayed() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_error_after_effect").await;
    let path = format!("/v1/payment_intents/{id}/confirm");

    client
        .try_post_with_key("confirm", &path, &[])
        .await
        .expect_err("the response is lost");
    assert_eq!(
        client.find_payment(&id).await.status_and_state(),
        (200, "succeeded")
    );

    let retry = client.post_with_key("confirm", &path, &[]).await;
    assert_eq!(
        (retry.status_and_state(), retry.replayed),
        ((200, "succeeded"), true)
    );
}

#[tokio::test]
async fn an_unavailable_method_succeeds_after_the_outage() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_unavailable").await;
    let path = format!("/v1/payment_intents/{id}/confirm");

    for _ in 0..UNAVAILABLE_SECONDS {
        let response = client.post_with_key("confirm", &path, &[]).await;
        assert_eq!(response.error(), (503, "api_error", "", ""));
        server.advance_clock(1);
    }
    let response = client.post_with_key("confirm", &path, &[]).await;
    assert_eq!(
        (response.status_and_state(), response.replayed),
        ((200, "succeeded"), false)
    );
}

#[tokio::test]
async fn a_broken_method_always_fails_and_its_payment_can_be_cancelled() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_broken").await;
    for _ in 0..3 {
        server.advance_clock(3600);
        assert_eq!(client.confirm(&id).await.error(), (500, "api_error", "", ""));
    }
    let cancelled = client
        .post(&format!("/v1/payment_intents/{id}/cancel"), &[])
        .await;
    assert_eq!(cancelled.status_and_state(), (200, "canceled"));
    assert_eq!(
        client.confirm(&id).await.error().2,
        "payment_intent_unexpected_state"
    );
}

#[tokio::test]
async fn a_client_disconnect_does_not_stop_a_charge() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_slow").await;
    let request = client.request(Method::POST, &format!("/v1/payment_intents/{id}/confirm"));
    let error = client
        .try_send(request.timeout(Duration::from_millis(50)))
        .await
        .unwrap_err();
    assert!(error.is_timeout());

    let charged = async {
        while client.find_payment(&id).await.status_and_state() != (200, "succeeded") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), charged)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cancellation_during_a_slow_charge_wins() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_slow").await;
    let confirmation = client.start_slow_confirmation("confirm", &id).await;
    let cancelled = client
        .post(&format!("/v1/payment_intents/{id}/cancel"), &[])
        .await;
    assert_eq!(cancelled.status_and_state(), (200, "canceled"));
    assert_eq!(confirmation.await.error().2, "payment_intent_unexpected_state");
}
