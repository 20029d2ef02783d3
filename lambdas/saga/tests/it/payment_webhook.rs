//! Tests of payment-webhook: the deployed executable with Stripe's events, and the payment simulator.

use aws_lc_rs::hmac;
use domain::{Clock, EventId, PaymentId};
use lambda_shared::testing::FunctionProcess;
use orders::{Payment, PaymentIssue};
use saga::{SagaState, payments::PaymentProvider};
use serde_json::{Value, json};

use crate::{
    deployed_functions::{EXECUTABLE, create_secret},
    support::{RETURN_URL, TestContext},
};

const SECRET: &str = "whsec_test";

struct Webhook {
    context: TestContext,
    function: FunctionProcess,
}

impl Webhook {
    async fn start() -> Self {
        let context = TestContext::new().await;
        let key = create_secret(&context, "payment-api-key", "sk_test_saga").await;
        let secret = create_secret(&context, "payment-webhook-secret", SECRET).await;
        let variables = [
            ("ORDERS_TABLE", context.tables.orders.as_str()),
            ("OUTBOX_TABLE", &context.tables.outbox),
            ("IDEMPOTENCY_TABLE", &context.tables.idempotency),
            ("EVENT_BUS", &context.event_bus),
            ("PAYMENT_API_URL", &context.stripe_url),
            ("PAYMENT_API_KEY_SECRET", &key),
            ("PAYMENT_WEBHOOK_SECRET", &secret),
        ];
        let function = FunctionProcess::start(EXECUTABLE, "payment-webhook", &variables)
            .await
            .unwrap();
        Self { context, function }
    }

    /// Sends a request with this signature and returns the status.
    async fn post(&self, signature: &str, body: &str) -> u64 {
        let response = self.function.invoke(http_request(signature, body)).await;
        response.unwrap()["statusCode"].as_u64().unwrap()
    }

    /// Sends an event under this id.
    async fn send_event(&self, id: &str, kind: &str, object: Value) -> u64 {
        let event = json!({"id": id, "type": kind, "data": {"object": object}}).to_string();
        self.post(&sign(&event), &event).await
    }

    /// Sends an event under a new id.
    async fn send(&self, kind: &str, object: Value) {
        let id = format!("evt_{}", EventId::new(Clock::system().now()));
        assert_eq!(self.send_event(&id, kind, object).await, 200);
    }

    /// Charges an order, and closes it as a compensation does, without a refund.
    async fn charge_and_close(&self, payment_method: &str) -> (SagaState, PaymentId) {
        let state = self.context.place_order(payment_method).await;
        let payment = self.context.claim_for_payment(&state).await;
        self.context
            .stripe
            .confirm(state.order_id, &payment, RETURN_URL)
            .await
            .unwrap();
        self.context.close_to_payment(&state).await;
        (state, payment)
    }

    async fn issue(&self, state: &SagaState) -> Option<PaymentIssue> {
        self.context.load_order(state).await.payment_issue
    }
}

fn http_request(signature: &str, body: &str) -> Value {
    json!({
        "version": "2.0",
        "rawPath": "/v1/webhooks/payment-provider",
        "headers": {"stripe-signature": signature, "content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": "/v1/webhooks/payment-provider"}},
        "body": body,
        "isBase64Encoded": false,
    })
}

fn sign(body: &str) -> String {
    let sent_at = Clock::system().now().timestamp();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("{sent_at}.{body}").as_bytes());
    let signature: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={sent_at},v1={signature}")
}

#[tokio::test]
async fn only_signed_events_of_bounded_size_are_accepted() {
    let webhook = Webhook::start().await;
    let event = r#"{"id":"evt_1","type":"customer.created","data":{"object":{"id":"cus_1"}}}"#;
    assert_eq!(webhook.post(&sign(event), event).await, 200);
    assert_eq!(webhook.post(&sign("{}"), event).await, 400);
    assert_eq!(webhook.post("", event).await, 400);
    assert_eq!(webhook.post(&sign("{"), "{").await, 400);
    let large = " ".repeat(256 * 1024 + 1);
    assert_eq!(webhook.post(&sign(&large), &large).await, 413);
}

#[tokio::test]
async fn charge_of_a_failed_order_is_refunded_and_flagged() {
    let webhook = Webhook::start().await;
    let (state, payment) = webhook.charge_and_close("pm_card_visa").await;
    webhook.context.fail_order(&state).await;
    for _ in 0..2 {
        webhook
            .send("payment_intent.succeeded", json!({"id": payment}))
            .await;
        assert_eq!(webhook.context.charged_and_refunded(), (1_500, 1_500));
    }
    let order = webhook.context.load_order(&state).await;
    assert_eq!(
        (order.payment, order.payment_issue),
        (Some(Payment::Refunded), Some(PaymentIssue::LateCharge))
    );
}

#[tokio::test]
async fn charge_of_an_order_in_progress_is_left_to_its_saga() {
    let webhook = Webhook::start().await;
    let state = webhook.context.place_order("pm_card_visa").await;
    let payment = webhook.context.claim_for_payment(&state).await;
    webhook
        .context
        .stripe
        .confirm(state.order_id, &payment, RETURN_URL)
        .await
        .unwrap();
    webhook
        .send("payment_intent.succeeded", json!({"id": payment}))
        .await;
    assert_eq!(webhook.context.charged_and_refunded(), (1_500, 0));
    assert_eq!(webhook.issue(&state).await, None);
}

/// The published event starts the saga's next execution, which looks at the payment.
#[tokio::test]
async fn result_of_the_authentication_continues_the_saga_once() {
    let webhook = Webhook::start().await;
    for (choice, kind) in [
        ("approve", "payment_intent.succeeded"),
        ("deny", "payment_intent.payment_failed"),
    ] {
        let (state, payment) = webhook
            .context
            .place_waiting_order("pm_card_threeDSecure2Required")
            .await;
        webhook.context.authenticate(&payment, choice).await;
        for _ in 0..2 {
            webhook.send(kind, json!({"id": payment})).await;
            let order = webhook.context.load_order(&state).await;
            assert_eq!((order.restarts, order.payment_action), (1, None), "{kind}");
        }
        assert_eq!(webhook.issue(&state).await, None);
    }
    assert_eq!(webhook.context.charged_and_refunded(), (1_500, 0));
}

/// The time for the authentication has passed, and the compensation could not cancel the payment.
#[tokio::test]
async fn authentication_after_the_order_has_failed_is_refunded_and_flagged() {
    let webhook = Webhook::start().await;
    let (state, payment) = webhook
        .context
        .place_waiting_order("pm_card_threeDSecure2Required")
        .await;
    webhook.context.close_to_payment(&state).await;
    webhook.context.fail_order(&state).await;
    webhook.context.authenticate(&payment, "approve").await;
    webhook
        .send("payment_intent.succeeded", json!({"id": payment}))
        .await;
    assert_eq!(webhook.context.charged_and_refunded(), (1_500, 1_500));
    assert_eq!(webhook.issue(&state).await, Some(PaymentIssue::LateCharge));
    assert_eq!(
        webhook.context.load_order(&state).await.restarts,
        0,
        "an ended order is not continued"
    );
}

#[tokio::test]
async fn decline_during_the_saga_continues_nothing() {
    let webhook = Webhook::start().await;
    let state = webhook.context.place_order("pm_card_chargeDeclined").await;
    let payment = webhook.context.claim_for_payment(&state).await;
    webhook
        .send("payment_intent.payment_failed", json!({"id": payment}))
        .await;
    assert_eq!(webhook.context.load_order(&state).await.restarts, 0);
}

/// The event says that the payment succeeded, but Stripe does not.
#[tokio::test]
async fn event_about_an_uncharged_payment_has_no_effect() {
    let webhook = Webhook::start().await;
    let state = webhook.context.place_order("pm_card_visa").await;
    let payment = webhook.context.claim_for_payment(&state).await;
    webhook.context.close_to_payment(&state).await;
    webhook.context.fail_order(&state).await;
    webhook
        .send("payment_intent.succeeded", json!({"id": payment}))
        .await;
    assert_eq!(webhook.context.charged_and_refunded(), (0, 0));
    assert_eq!(webhook.issue(&state).await, None);
}

/// The refund counts or not as Stripe lists it, whichever event comes first.
#[tokio::test]
async fn missing_refund_is_flagged_until_the_refund_exists() {
    let webhook = Webhook::start().await;
    let (state, payment) = webhook.charge_and_close("pm_card_visa").await;
    let refund = json!({"id": "re_1", "payment_intent": payment, "status": "failed"});
    for kind in ["refund.updated", "refund.failed"] {
        webhook.send(kind, refund.clone()).await;
        assert_eq!(webhook.issue(&state).await, Some(PaymentIssue::RefundFailed));
    }
    let total = state.total().unwrap();
    webhook
        .context
        .stripe
        .refund(state.order_id, &payment, total)
        .await
        .unwrap();
    // The event of the first refund arrives again, late.
    webhook.send("refund.failed", refund).await;
    assert_eq!(webhook.issue(&state).await, None);
}

#[tokio::test]
async fn dispute_is_flagged_once_per_event() {
    let webhook = Webhook::start().await;
    let state = webhook.context.place_order("pm_card_visa").await;
    let payment = webhook.context.claim_for_payment(&state).await;
    let dispute = json!({"id": "dp_1", "payment_intent": payment});
    let send = async || {
        webhook
            .send_event("evt_dispute", "charge.dispute.created", dispute.clone())
            .await
    };
    assert_eq!(send().await, 200);
    assert_eq!(webhook.issue(&state).await, Some(PaymentIssue::Disputed));
    let order = webhook.context.load_order(&state).await;
    webhook
        .context
        .orders
        .resolve_payment_issue(&order, PaymentIssue::Disputed)
        .await
        .unwrap();
    assert_eq!(send().await, 200);
    assert_eq!(
        webhook.issue(&state).await,
        None,
        "an operator has resolved the issue"
    );
}

#[tokio::test]
async fn unknown_payments_and_other_events_are_acknowledged() {
    let webhook = Webhook::start().await;
    for kind in [
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
    ] {
        webhook.send(kind, json!({"id": "pi_unknown"})).await;
    }
    webhook
        .send(
            "charge.dispute.created",
            json!({"id": "dp_1", "payment_intent": null}),
        )
        .await;
}
