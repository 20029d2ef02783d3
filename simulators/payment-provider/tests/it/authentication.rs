//! 3D Secure: payments that the customer must authenticate.

use serde_json::{Value, json};

use crate::support::TestApp;

const RETURN_URL: &str = "https://shop.example/return?order_id=1";
const UNEXPECTED_STATE: &str = "payment_intent_unexpected_state";

/// The URL to which the page sends the customer.
fn return_url(intent: &Value, redirect_status: &str) -> Option<String> {
    let (id, secret) = (intent["id"].as_str()?, intent["client_secret"].as_str()?);
    Some(format!(
        "{RETURN_URL}&payment_intent={id}&payment_intent_client_secret={secret}&redirect_status={redirect_status}"
    ))
}

#[tokio::test]
async fn an_approved_payment_is_charged() {
    let server = TestApp::start().await;
    let client = &server.client;
    for method in [
        "pm_card_threeDSecure2Required",
        "pm_card_threeDSecureRequired",
        "pm_card_authenticationRequired",
    ] {
        let intent = client.payment_to_authenticate(method, RETURN_URL).await.body;
        assert_eq!(intent["next_action"]["type"], "redirect_to_url", "{method}");
        assert_eq!(intent["next_action"]["redirect_to_url"]["return_url"], RETURN_URL);
        assert_eq!(
            (&intent["amount_received"], &intent["latest_charge"]),
            (&json!(0), &json!(null))
        );
        let page = intent["next_action"]["redirect_to_url"]["url"].as_str().unwrap();
        let page = reqwest::get(page).await.unwrap();
        assert_eq!(page.status(), 200);
        assert!(page.text().await.unwrap().contains("¥1500"));

        let approved = client.authenticate(&intent, "approve").await;
        assert_eq!(approved, (303, return_url(&intent, "succeeded")), "{method}");
        let charged = client.find_payment(intent["id"].as_str().unwrap()).await;
        assert_eq!(charged.status_and_state(), (200, "succeeded"));
        assert_eq!(charged.body["next_action"], json!(null));
        assert_eq!(client.authenticate(&intent, "deny").await, (404, None));
    }
}

#[tokio::test]
async fn a_denied_payment_needs_another_method() {
    let server = TestApp::start().await;
    let client = &server.client;
    let intent = client
        .payment_to_authenticate("pm_card_threeDSecure2Required", RETURN_URL)
        .await
        .body;
    let denied = client.authenticate(&intent, "deny").await;
    assert_eq!(denied, (303, return_url(&intent, "failed")));
    let id = intent["id"].as_str().unwrap();
    let failed = client.find_payment(id).await;
    assert_eq!(failed.status_and_state(), (200, "requires_payment_method"));
    assert_eq!(
        failed.body["last_payment_error"]["code"],
        "payment_intent_authentication_failure"
    );
    assert_eq!(failed.body["last_payment_error"]["decline_code"], json!(null));
    assert_eq!(client.confirm(id).await.error().2, UNEXPECTED_STATE);
    let path = format!("/v1/payment_intents/{id}/confirm");
    let other_card = client.post(&path, &[("payment_method", "pm_card_visa")]).await;
    assert_eq!(other_card.status_and_state(), (200, "succeeded"));
}

#[tokio::test]
async fn the_bank_can_decline_an_approved_payment() {
    let server = TestApp::start().await;
    let client = &server.client;
    for (method, decline_code) in [
        ("pm_card_threeDSecureRequiredChargeDeclined", "generic_decline"),
        (
            "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
            "insufficient_funds",
        ),
    ] {
        let intent = client.payment_to_authenticate(method, RETURN_URL).await.body;
        let declined = client.authenticate(&intent, "approve").await;
        assert_eq!(declined, (303, return_url(&intent, "failed")));
        let failed = client.find_payment(intent["id"].as_str().unwrap()).await;
        assert_eq!(failed.status_and_state(), (200, "requires_payment_method"));
        assert_eq!(failed.body["last_payment_error"]["decline_code"], decline_code);
    }
}

#[tokio::test]
async fn a_payment_that_waits_can_be_cancelled_and_not_refunded() {
    let server = TestApp::start().await;
    let client = &server.client;
    let intent = client
        .payment_to_authenticate("pm_card_threeDSecure2Required", RETURN_URL)
        .await
        .body;
    let id = intent["id"].as_str().unwrap();
    let refund = client.post("/v1/refunds", &[("payment_intent", id)]).await;
    assert_eq!(refund.status, 400);
    let path = format!("/v1/payment_intents/{id}/cancel");
    assert_eq!(
        client.post(&path, &[]).await.status_and_state(),
        (200, "canceled")
    );
    assert_eq!(client.authenticate(&intent, "approve").await, (404, None));
    assert_eq!(
        client.find_payment(id).await.status_and_state(),
        (200, "canceled")
    );
}

/// As with Stripe, a payment that waits can be confirmed again, which starts a new authentication. A request
/// with the first idempotency key gets the first response.
#[tokio::test]
async fn a_second_confirmation_starts_a_new_authentication() {
    let server = TestApp::start().await;
    let client = &server.client;
    let id = client.create_payment("pm_card_threeDSecure2Required").await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    let parameters = [("return_url", RETURN_URL)];
    let first = client.post_with_key("first", &path, &parameters).await;
    let second = client.post_with_key("second", &path, &parameters).await;
    assert_eq!(second.status_and_state(), (200, "requires_action"));
    assert_ne!(first.body["next_action"], second.body["next_action"]);
    assert_eq!(client.authenticate(&first.body, "approve").await, (404, None));
    assert_eq!(client.authenticate(&second.body, "approve").await.0, 303);
    let repeated = client.post_with_key("first", &path, &parameters).await;
    assert_eq!(
        (repeated.replayed, repeated.body),
        (true, first.body),
        "the stored response is older than the payment"
    );
}

#[tokio::test]
async fn without_a_return_url_only_the_browser_library_can_authenticate() {
    let server = TestApp::start().await;
    let id = server
        .client
        .create_payment("pm_card_authenticationRequired")
        .await;
    let confirmed = server.client.confirm(&id).await;
    assert_eq!(confirmed.status_and_state(), (200, "requires_action"));
    assert_eq!(confirmed.body["next_action"]["type"], "use_stripe_sdk");
}
