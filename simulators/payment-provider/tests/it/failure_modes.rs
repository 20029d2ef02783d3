//! The payment methods that inject failures: what the client sees, and what took effect.

use std::time::Duration;

use reqwest::Method;

use crate::support::{TestApp, UNAVAILABLE_SECONDS};

#[tokio::test]
async fn an_error_before_the_charge_is_stored_and_the_next_key_charges() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_error_before_effect").await;
    let path = format!("/v1/payment_intents/{id}/confirm");

    for replayed in [false, true] {
        let failed = client.post_with_key("confirm", &path, &[]).await;
        assert_eq!(
            (failed.error(), failed.replayed),
            ((500, "api_error", "", ""), replayed)
        );
        assert_eq!(
            client.find_payment(&id).await.status_and_state(),
            (200, "requires_confirmation")
        );
    }

    let retry = client.post_with_key("confirm-2", &path, &[]).await;
    assert_eq!(
        (retry.status_and_state(), retry.replayed),
        ((200, "succeeded"), false)
    );
}

#[tokio::test]
async fn an_error_after_the_charge_is_stored_and_the_payment_is_charged() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_error_after_confirm").await;
    let path = format!("/v1/payment_intents/{id}/confirm");

    for replayed in [false, true] {
        let failed = client.post_with_key("confirm", &path, &[]).await;
        assert_eq!(
            (failed.error(), failed.replayed),
            ((500, "api_error", "", ""), replayed)
        );
    }
    assert_eq!(
        client.find_payment(&id).await.status_and_state(),
        (200, "succeeded")
    );
    let again = client.post_with_key("confirm-2", &path, &[]).await;
    assert_eq!(again.error().2, "payment_intent_unexpected_state");
}

#[tokio::test]
async fn errors_of_a_creation_are_stored_with_and_without_a_payment() {
    for (method, payments_after_the_error) in [("pm_error_before_create", 0), ("pm_error_after_create", 1)] {
        let server = TestApp::start().await;
        let client = &server.client;
        let params = [
            ("amount", "1500"),
            ("currency", "jpy"),
            ("payment_method", method),
        ];
        let count_payments = async || {
            let page = client.get("/v1/payment_intents").await;
            page.body["data"].as_array().unwrap().len()
        };
        for replayed in [false, true] {
            let failed = client
                .post_with_key("create", "/v1/payment_intents", &params)
                .await;
            assert_eq!(
                (failed.error(), failed.replayed),
                ((500, "api_error", "", ""), replayed),
                "{method}"
            );
            assert_eq!(count_payments().await, payments_after_the_error, "{method}");
        }
        let created = client
            .post_with_key("create-2", "/v1/payment_intents", &params)
            .await;
        assert_eq!(created.status_and_state(), (200, "requires_confirmation"));
        assert_eq!(count_payments().await, payments_after_the_error + 1, "{method}");
    }
}

#[tokio::test]
async fn errors_of_a_cancellation_are_stored_with_and_without_effect() {
    for (method, status_after_the_error) in [
        ("pm_error_before_cancel", "requires_confirmation"),
        ("pm_error_after_cancel", "canceled"),
    ] {
        let server = TestApp::start().await;
        let client = &server.client;
        let id = client.create_payment(method).await;
        assert_eq!(client.confirm(&id).await.error(), (500, "api_error", "", ""));

        let path = format!("/v1/payment_intents/{id}/cancel");
        for replayed in [false, true] {
            let failed = client.post_with_key("cancel", &path, &[]).await;
            assert_eq!(
                (failed.error(), failed.replayed),
                ((500, "api_error", "", ""), replayed),
                "{method}"
            );
        }
        assert_eq!(
            client.find_payment(&id).await.status_and_state(),
            (200, status_after_the_error)
        );
        let again = client.post(&path, &[]).await;
        match status_after_the_error {
            "canceled" => assert_eq!(again.error().2, "payment_intent_unexpected_state"),
            _ => assert_eq!(again.status_and_state(), (200, "canceled")),
        }
    }
}

#[tokio::test]
async fn errors_of_a_refund_are_stored_with_and_without_a_refund() {
    for (method, refunds_after_the_error) in [("pm_error_before_refund", 0), ("pm_error_after_refund", 1)] {
        let server = TestApp::start().await;
        let client = &server.client;
        let id = client.create_payment(method).await;
        client.confirm(&id).await;

        let params = [("payment_intent", id.as_str())];
        for replayed in [false, true] {
            let failed = client.post_with_key("refund", "/v1/refunds", &params).await;
            assert_eq!(
                (failed.error(), failed.replayed),
                ((500, "api_error", "", ""), replayed),
                "{method}"
            );
            let refunds = client.get(&format!("/v1/refunds?payment_intent={id}")).await;
            assert_eq!(
                refunds.body["data"].as_array().unwrap().len(),
                refunds_after_the_error,
                "{method}"
            );
        }
        let next = client.post_with_key("refund-2", "/v1/refunds", &params).await;
        match refunds_after_the_error {
            0 => assert_eq!(next.status_and_state(), (200, "succeeded")),
            _ => assert_eq!(next.error().2, "charge_already_refunded"),
        }
    }
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
