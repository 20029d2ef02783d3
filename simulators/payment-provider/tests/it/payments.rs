//! The lifecycle of a payment: create, confirm, cancel, refund.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_payment_is_created_confirmed_and_refunded() {
    let server = TestApp::start().await;
    let client = &server.client;

    let params = [
        ("amount", "1500"),
        ("currency", "JPY"),
        ("metadata[order_id]", "注文 1"),
    ];
    let intent = client.post("/v1/payment_intents", &params).await;
    assert_eq!(intent.status_and_state(), (200, "requires_payment_method"));
    assert_eq!(intent.body["metadata"], json!({ "order_id": "注文 1" }));
    assert_eq!(
        (&intent.body["amount"], &intent.body["currency"]),
        (&json!(1500), &json!("jpy"))
    );
    assert_eq!(intent.body["latest_charge"], json!(null));
    let id = intent.id();

    let rejected = client.confirm(&id).await;
    assert_eq!(
        rejected.error(),
        (
            400,
            "invalid_request_error",
            "payment_intent_unexpected_state",
            ""
        )
    );
    assert_eq!(
        rejected.body["error"]["payment_intent"]["status"],
        "requires_payment_method"
    );

    let path = format!("/v1/payment_intents/{id}/confirm");
    let charged = client.post(&path, &[("payment_method", "pm_card_visa")]).await;
    assert_eq!(charged.status_and_state(), (200, "succeeded"));
    assert_eq!(charged.body["amount_received"], 1500);
    assert_eq!(client.find_payment(&id).await.body, charged.body);

    let cancel = client
        .post(&format!("/v1/payment_intents/{id}/cancel"), &[])
        .await;
    assert_eq!(
        cancel.error(),
        (
            400,
            "invalid_request_error",
            "payment_intent_unexpected_state",
            ""
        )
    );
    assert_eq!(cancel.body["error"]["payment_intent"]["status"], "succeeded");

    let refund = client.post("/v1/refunds", &[("payment_intent", &id)]).await;
    assert_eq!(refund.status_and_state(), (200, "succeeded"));
    assert_eq!(refund.body["amount"], 1500);
    assert_eq!(refund.body["charge"], charged.body["latest_charge"]);
    let again = client.post("/v1/refunds", &[("payment_intent", &id)]).await;
    assert_eq!(
        again.error(),
        (400, "invalid_request_error", "charge_already_refunded", "")
    );
}

#[tokio::test]
async fn a_cancelled_payment_is_never_charged() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_card_visa").await;

    let cancelled = client
        .post(&format!("/v1/payment_intents/{id}/cancel"), &[])
        .await;
    assert_eq!(cancelled.status_and_state(), (200, "canceled"));

    let late = client.confirm(&id).await;
    assert_eq!(
        late.error(),
        (
            400,
            "invalid_request_error",
            "payment_intent_unexpected_state",
            ""
        )
    );
    assert_eq!(late.body["error"]["payment_intent"]["status"], "canceled");
    let again = client
        .post(&format!("/v1/payment_intents/{id}/cancel"), &[])
        .await;
    assert_eq!(again.error().2, "payment_intent_unexpected_state");
    let refund = client.post("/v1/refunds", &[("payment_intent", &id)]).await;
    assert_eq!(
        refund.error(),
        (400, "invalid_request_error", "", "payment_intent")
    );
    assert_eq!(client.find_payment(&id).await.body["latest_charge"], json!(null));
}

#[tokio::test]
async fn every_successful_test_card_is_charged() {
    let server = TestApp::start().await;
    for method in [
        "pm_card_visa",
        "pm_card_mastercard",
        "pm_card_jcb",
        "pm_card_amex",
    ] {
        let id = server.client.create_payment(method).await;
        assert_eq!(
            server.client.confirm(&id).await.status_and_state(),
            (200, "succeeded"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn declines_have_stripe_codes_and_leave_the_payment_open() {
    let server = TestApp::start().await;
    let client = &server.client;
    let declines = [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        (
            "pm_card_chargeDeclinedInsufficientFunds",
            "card_declined",
            "insufficient_funds",
        ),
        (
            "pm_card_chargeDeclinedExpiredCard",
            "expired_card",
            "expired_card",
        ),
        (
            "pm_card_chargeDeclinedIncorrectCvc",
            "incorrect_cvc",
            "incorrect_cvc",
        ),
        (
            "pm_card_chargeDeclinedProcessingError",
            "processing_error",
            "processing_error",
        ),
    ];
    for (method, code, decline_code) in declines {
        let id = client.create_payment(method).await;
        let response = client.confirm(&id).await;
        assert_eq!(response.error(), (402, "card_error", code, ""), "{method}");
        let error = &response.body["error"];
        assert_eq!(error["decline_code"], decline_code, "{method}");
        assert_eq!(error["payment_intent"]["id"], id.as_str());

        let open = client.find_payment(&id).await;
        assert_eq!(open.status_and_state(), (200, "requires_payment_method"));
        assert_eq!(open.body["payment_method"], json!(null));
        assert_eq!(open.body["last_payment_error"]["decline_code"], decline_code);
        assert_eq!(open.body, error["payment_intent"]);

        let path = format!("/v1/payment_intents/{id}/confirm");
        let other_card = client.post(&path, &[("payment_method", "pm_card_visa")]).await;
        assert_eq!(other_card.status_and_state(), (200, "succeeded"));
    }
}

#[tokio::test]
async fn a_payment_can_be_created_and_charged_in_one_request() {
    let server = TestApp::start().await;
    let params = |method| {
        [
            ("amount", "50"),
            ("currency", "jpy"),
            ("payment_method", method),
            ("confirm", "true"),
        ]
    };

    let charged = server
        .client
        .post("/v1/payment_intents", &params("pm_card_visa"))
        .await;
    assert_eq!(charged.status_and_state(), (200, "succeeded"));

    let declined = server
        .client
        .post("/v1/payment_intents", &params("pm_card_chargeDeclined"))
        .await;
    assert_eq!(declined.error(), (402, "card_error", "card_declined", ""));
    let id = declined.body["error"]["payment_intent"]["id"].as_str().unwrap();
    assert_eq!(
        server.client.find_payment(id).await.status_and_state(),
        (200, "requires_payment_method")
    );
}
