//! Events about payments, sent to a webhook endpoint as Stripe sends them: signed, at least once, in any
//! order, and again until the endpoint responds with a 2xx status.

use std::time::Duration;

use aws_lc_rs::hmac;
use domain::{Clock, ids::uuid_v7};
use reqwest::{Client, Url, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::{
    resources::{IntentStatus, RefundStatus},
    state::CommandOutcome,
};

/// How often an event is sent. Stripe sends it for three days.
const MAX_ATTEMPTS: u32 = 12;
/// The pause after the first attempt. It doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Stripe waits somewhat longer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where events are sent, and the secret that signs them.
#[derive(Clone, Debug)]
pub struct WebhookEndpoint {
    pub url: Url,
    pub secret: String,
}

/// Sends events to an endpoint. Events that were not delivered are lost when the process ends.
#[derive(Clone, Debug)]
pub struct EventSender {
    endpoint: WebhookEndpoint,
    http: Client,
    clock: Clock,
}

/// The events about an executed command: their types and the resource after it.
pub fn events_of(outcome: &CommandOutcome) -> Vec<(&'static str, Value)> {
    match outcome {
        CommandOutcome::Intent(intent) => match intent.status {
            IntentStatus::Succeeded => vec![("payment_intent.succeeded", intent.to_json())],
            IntentStatus::Canceled => vec![("payment_intent.canceled", intent.to_json())],
            IntentStatus::RequiresAction => vec![("payment_intent.requires_action", intent.to_json())],
            IntentStatus::RequiresPaymentMethod if intent.last_decline.is_some() => {
                vec![("payment_intent.payment_failed", intent.to_json())]
            }
            IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation => Vec::new(),
        },
        CommandOutcome::Refund(refund) => match refund.status {
            RefundStatus::Succeeded => vec![("refund.updated", refund.to_json())],
            RefundStatus::Failed => vec![
                ("refund.failed", refund.to_json()),
                ("refund.updated", refund.to_json()),
            ],
        },
        CommandOutcome::Dispute(dispute) => vec![("charge.dispute.created", dispute.to_json())],
        CommandOutcome::Rejected(error) => match &error.intent {
            Some(intent) if error.decline_code.is_some() => {
                vec![("payment_intent.payment_failed", intent.to_json())]
            }
            _ => Vec::new(),
        },
    }
}

impl EventSender {
    #[must_use]
    pub fn new(endpoint: WebhookEndpoint, clock: Clock) -> Self {
        Self {
            endpoint,
            http: Client::new(),
            clock,
        }
    }

    /// Sends an event about `object` in the background.
    pub fn send(&self, kind: &'static str, object: &Value) {
        let now = self.clock.now();
        let event = json!({
            "id": format!("evt_{}", uuid_v7(now).simple()),
            "object": "event",
            "created": now.timestamp(),
            "data": { "object": object },
            "livemode": false,
            "type": kind,
        });
        let sender = self.clone();
        tokio::spawn(async move { sender.deliver(kind, event.to_string()).await });
    }

    async fn deliver(&self, kind: &'static str, body: String) {
        let mut pause = FIRST_PAUSE;
        for _ in 0..MAX_ATTEMPTS {
            let request = self
                .http
                .post(self.endpoint.url.clone())
                .timeout(TIMEOUT)
                .header(CONTENT_TYPE, "application/json; charset=utf-8")
                .header("Stripe-Signature", self.sign(&body))
                .body(body.clone());
            match request.send().await {
                Ok(response) if response.status().is_success() => return,
                Ok(response) => {
                    tracing::info!(
                        kind,
                        status = response.status().as_u16(),
                        "an event was not accepted"
                    );
                }
                Err(_) => tracing::info!(kind, "the webhook endpoint did not respond"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        tracing::warn!(kind, "an event was given up");
    }

    /// The header of a request that is sent now.
    fn sign(&self, body: &str) -> String {
        let sent_at = self.clock.now().timestamp();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.endpoint.secret.as_bytes());
        let tag = hmac::sign(&key, format!("{sent_at}.{body}").as_bytes());
        let signature: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={sent_at},v1={signature}")
    }
}
