//! Events: what a webhook endpoint receives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use payment_provider::events::WebhookEndpoint;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use crate::support::TestApp;

const SECRET: &str = "whsec_test";

/// An endpoint whose first responses are 500s.
struct Receiver {
    app: TestApp,
    requests: mpsc::UnboundedReceiver<(HeaderMap, String)>,
}

impl Receiver {
    async fn start(failures: usize) -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let handler = {
            let responses = Arc::new(AtomicUsize::new(0));
            async move |State(sender): State<mpsc::UnboundedSender<(HeaderMap, String)>>,
                        headers: HeaderMap,
                        body: String| {
                sender.send((headers, body)).unwrap();
                match responses.fetch_add(1, Ordering::SeqCst) < failures {
                    true => StatusCode::INTERNAL_SERVER_ERROR,
                    false => StatusCode::OK,
                }
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let routes = Router::new().route("/webhook", post(handler)).with_state(sender);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let webhook = WebhookEndpoint {
            url: url.parse().unwrap(),
            secret: SECRET.to_owned(),
        };
        Self {
            app: TestApp::start_with(Some(webhook)).await,
            requests,
        }
    }

    /// The next event, whose signature must be valid.
    async fn next(&mut self) -> Value {
        let (headers, body) = timeout(Duration::from_secs(10), self.requests.recv())
            .await
            .unwrap()
            .unwrap();
        let header = headers["stripe-signature"].to_str().unwrap();
        let (timestamp, signature) = header
            .strip_prefix("t=")
            .and_then(|rest| rest.split_once(",v1="))
            .unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
        let expected: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(signature, expected);
        serde_json::from_str(&body).unwrap()
    }
}

#[tokio::test]
async fn an_event_is_sent_until_it_is_accepted() {
    let mut receiver = Receiver::start(2).await;
    let id = receiver.app.client.create_payment("pm_card_visa").await;
    receiver.app.client.confirm(&id).await;
    let first = receiver.next().await;
    assert_eq!(
        (&first["type"], &first["data"]["object"]["id"]),
        (&"payment_intent.succeeded".into(), &id.as_str().into())
    );
    assert_eq!(receiver.next().await, first);
    assert_eq!(receiver.next().await, first);
    let other = receiver.app.client.create_payment("pm_card_chargeDeclined").await;
    receiver.app.client.confirm(&other).await;
    assert_eq!(receiver.next().await["type"], "payment_intent.payment_failed");
    let path = format!("/v1/payment_intents/{other}/cancel");
    receiver.app.client.post(&path, &[]).await;
    assert_eq!(receiver.next().await["type"], "payment_intent.canceled");
}

#[tokio::test]
async fn a_refund_can_fail_later_and_be_repeated() {
    let mut receiver = Receiver::start(0).await;
    let id = receiver.app.client.create_payment("pm_card_refundFail").await;
    receiver.app.client.confirm(&id).await;
    assert_eq!(receiver.next().await["type"], "payment_intent.succeeded");
    let refund = receiver
        .app
        .client
        .post("/v1/refunds", &[("payment_intent", &id)])
        .await;
    assert_eq!(refund.status_and_state(), (200, "succeeded"));
    assert_eq!(receiver.next().await["data"]["object"]["status"], "succeeded");
    // The two events of the failure are sent at the same time.
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let event = receiver.next().await;
        assert_eq!(event["data"]["object"]["id"], refund.id().as_str());
        assert_eq!(event["data"]["object"]["status"], "failed");
        kinds.push(event["type"].as_str().unwrap().to_owned());
    }
    kinds.sort();
    assert_eq!(kinds, ["refund.failed", "refund.updated"]);

    let again = receiver
        .app
        .client
        .post("/v1/refunds", &[("payment_intent", &id)])
        .await;
    assert_eq!(again.status_and_state(), (200, "succeeded"));
    let listed = receiver
        .app
        .client
        .get(&format!("/v1/refunds?payment_intent={id}"))
        .await;
    let statuses: Vec<&str> = listed.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refund| refund["status"].as_str().unwrap())
        .collect();
    // Newest first. The new refund fails later, too.
    assert_eq!((statuses.len(), statuses[1]), (2, "failed"));
}

#[tokio::test]
async fn every_change_of_an_authenticated_payment_is_sent() {
    let mut receiver = Receiver::start(0).await;
    let client = receiver.app.client.clone();
    for (method, choice, last_event) in [
        (
            "pm_card_threeDSecure2Required",
            "approve",
            "payment_intent.succeeded",
        ),
        (
            "pm_card_threeDSecure2Required",
            "deny",
            "payment_intent.payment_failed",
        ),
        (
            "pm_card_threeDSecureRequiredChargeDeclined",
            "approve",
            "payment_intent.payment_failed",
        ),
    ] {
        let intent = client
            .payment_to_authenticate(method, "https://shop.example/return")
            .await;
        let required = receiver.next().await;
        assert_eq!(
            (&required["type"], &required["data"]["object"]),
            (&"payment_intent.requires_action".into(), &intent.body)
        );
        client.authenticate(&intent.body, choice).await;
        assert_eq!(receiver.next().await["type"], last_event, "{method} {choice}");
    }
}

#[tokio::test]
async fn a_cancelled_payment_can_be_charged_later() {
    let mut receiver = Receiver::start(0).await;
    let client = receiver.app.client.clone();
    let id = client.create_payment("pm_charged_after_cancel").await;
    assert_eq!(client.confirm(&id).await.error(), (500, "api_error", "", ""));
    let cancelled = client
        .post(&format!("/v1/payment_intents/{id}/cancel"), &[])
        .await;
    assert_eq!(cancelled.status_and_state(), (200, "canceled"));
    assert_eq!(receiver.next().await["type"], "payment_intent.canceled");
    assert_eq!(receiver.next().await["type"], "payment_intent.succeeded");
    assert_eq!(
        client.find_payment(&id).await.status_and_state(),
        (200, "succeeded")
    );
}

#[tokio::test]
async fn a_charge_can_be_disputed() {
    let mut receiver = Receiver::start(0).await;
    let id = receiver.app.client.create_payment("pm_card_createDispute").await;
    receiver.app.client.confirm(&id).await;
    assert_eq!(receiver.next().await["type"], "payment_intent.succeeded");
    let event = receiver.next().await;
    assert_eq!(
        (&event["type"], &event["data"]["object"]["payment_intent"]),
        (&"charge.dispute.created".into(), &id.as_str().into())
    );
    let listed = receiver.app.client.get("/v1/disputes").await;
    assert_eq!(listed.body["data"][0], event["data"]["object"]);
}
