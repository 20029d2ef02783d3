//! An API client that places one order as real clients do: it repeats a request with the same idempotency key
//! until it receives a definite response.

use std::{collections::BTreeSet, time::Duration};

use domain::{OrderId, UserId};
use e2e::{
    consistency::ClientObservation,
    system::{ApiCaller, TestSystem},
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    connected_customer::ConnectedCustomers,
    schedule::{AuthenticationResponse, Purchase, SendMode},
};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How long a customer polls the order's status before the next purchase. Without this wait, customers would
/// add orders to an overloaded system, which would never catch up.
const STATUS_POLL_TIMEOUT: Duration = Duration::from_secs(180);

/// Polling more often would add too much load.
const STATUS_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The result of a purchase from the client's view.
#[derive(Debug)]
pub struct PurchaseOutcome {
    pub observation: ClientObservation,
    /// Requests that were repeated because there was no response, or no definite one.
    pub retries: u64,
    /// Requests that were repeated deliberately.
    pub duplicate_requests: u64,
    /// Responses that the API must never send.
    pub unexpected_responses: Vec<String>,
}

/// A customer making one purchase.
pub struct OrderClient<'a> {
    pub system: &'a TestSystem,
    pub customer: ApiCaller,
    pub purchase: &'a Purchase,
    /// The ids of all products of the run.
    pub products: &'a [String],
    pub connected: &'a ConnectedCustomers,
    pub idempotency_key: String,
}

/// The status and body of a definite response, and the number of retries before it.
type DefiniteResponse = (StatusCode, Value, u64);

impl OrderClient<'_> {
    /// Places the order, follows it, and cancels, authenticates or repeats it as the purchase defines.
    pub async fn place_order(&self) -> PurchaseOutcome {
        let mut outcome = PurchaseOutcome {
            observation: ClientObservation {
                user_id: UserId(self.customer.id.parse().expect("a customer id is a UUID")),
                idempotency_key: self.idempotency_key.clone(),
                order_ids: BTreeSet::new(),
                authentication: None,
            },
            retries: 0,
            duplicate_requests: 0,
            unexpected_responses: Vec::new(),
        };
        let body = self.order_body(0);
        if self.purchase.send_mode == SendMode::TwiceConcurrently {
            let (first, second) = tokio::join!(self.post_order(&body), self.post_order(&body));
            outcome.duplicate_requests += 1;
            outcome.record_response(first);
            outcome.record_response(second);
        } else {
            outcome.record_response(self.post_order(&body).await);
        }
        if let Some(order_id) = outcome.observation.order_ids.first().copied() {
            self.connected.follow(self.purchase.customer, order_id);
            if let Some(delay) = self.purchase.cancel_after {
                sleep(delay).await;
                self.cancel_order(order_id, &mut outcome).await;
            }
            self.follow_order(order_id, &mut outcome).await;
        }
        match self.purchase.send_mode {
            SendMode::RepeatedLater => {
                outcome.duplicate_requests += 1;
                outcome.record_response(self.post_order(&body).await);
            }
            SendMode::KeyReusedLater => {
                outcome.duplicate_requests += 1;
                let (status, body, retries) = self.post_order(&self.order_body(1)).await;
                outcome.retries += retries;
                if status != 422 {
                    outcome.unexpected_responses.push(format!(
                        "a different order with the key {} received {status}: {body}",
                        self.idempotency_key
                    ));
                }
            }
            SendMode::Once | SendMode::TwiceConcurrently => {}
        }
        outcome
    }

    /// The request body; `extra` units on each line make it a different order.
    fn order_body(&self, extra: u32) -> Value {
        let items: Vec<Value> = self
            .purchase
            .lines
            .iter()
            .map(|(product, quantity)| {
                json!({"product_id": self.products[*product], "quantity": quantity + extra})
            })
            .collect();
        json!({"items": items, "payment_method": self.purchase.payment_method})
    }

    async fn post_order(&self, body: &Value) -> DefiniteResponse {
        let request = || {
            self.system
                .core_api_request(Method::POST, "/v1/orders")
                .header("Idempotency-Key", &self.idempotency_key)
        };
        self.send_until_definite(|| request().json(body)).await
    }

    pub async fn cancel_order(&self, order_id: OrderId, outcome: &mut PurchaseOutcome) {
        let path = format!("/v1/orders/{order_id}/cancel");
        let (status, body, retries) = self
            .send_until_definite(|| self.system.core_api_request(Method::POST, &path))
            .await;
        outcome.retries += retries;
        // 202: the order waited for the customer, and its saga cancels it.
        if ![StatusCode::OK, StatusCode::ACCEPTED, StatusCode::CONFLICT].contains(&status) {
            outcome.unexpected_responses.push(format!(
                "the cancellation of order {order_id} received {status}: {body}"
            ));
        }
    }

    /// Repeats a request until the response is definite: neither a server error, nor a rate limit, nor a
    /// conflict with a request in progress.
    pub async fn send_until_definite(&self, request: impl Fn() -> RequestBuilder) -> DefiniteResponse {
        let mut pause = Duration::from_millis(100);
        let mut retries = 0;
        loop {
            let response = timeout(ATTEMPT_TIMEOUT, self.send(request())).await;
            if let Ok(Some((status, body))) = response {
                let in_progress = status == StatusCode::CONFLICT
                    && body["type"]
                        .as_str()
                        .is_some_and(|kind| kind.ends_with("request-in-progress"));
                if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS && !in_progress {
                    return (status, body, retries);
                }
            }
            retries += 1;
            sleep(pause).await;
            pause = MAX_BACKOFF.min(pause * 2);
        }
    }

    async fn send(&self, request: RequestBuilder) -> Option<(StatusCode, Value)> {
        let response = request.bearer_auth(&self.customer.token).send().await.ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Polls until the order is final or [`STATUS_POLL_TIMEOUT`] has passed. Responds once when the payment
    /// must be authenticated; a customer who does not respond in time leaves.
    async fn follow_order(&self, order_id: OrderId, outcome: &mut PurchaseOutcome) {
        let deadline = Instant::now() + STATUS_POLL_TIMEOUT;
        while Instant::now() < deadline {
            sleep(STATUS_POLL_INTERVAL).await;
            let path = format!("/v1/orders/{order_id}");
            let response = self.send(self.system.core_api_request(Method::GET, &path)).await;
            let Some((_, order)) = response else { continue };
            let is_final = |status| ["completed", "failed", "cancelled"].contains(&status);
            if order["status"].as_str().is_some_and(is_final) {
                return;
            }
            let next_action = &order["next_action"];
            if next_action.is_object() && outcome.observation.authentication.is_none() {
                let response = self
                    .respond_to_authentication(order_id, next_action, outcome)
                    .await;
                outcome.observation.authentication = Some(response);
                if matches!(
                    self.purchase.authentication,
                    AuthenticationResponse::Leave | AuthenticationResponse::ApproveTooLate
                ) {
                    return;
                }
            }
        }
    }
}

impl PurchaseOutcome {
    /// Records the response to a request that must be accepted.
    fn record_response(&mut self, (status, body, retries): DefiniteResponse) {
        self.retries += retries;
        match body["order_id"].as_str().and_then(|id| id.parse().ok()) {
            Some(order_id) if status == StatusCode::ACCEPTED => {
                _ = self.observation.order_ids.insert(order_id)
            }
            _ => self
                .unexpected_responses
                .push(format!("an order received {status}: {body}")),
        }
    }
}
