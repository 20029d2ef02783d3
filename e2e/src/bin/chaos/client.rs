//! A client that buys as a real one does: with one key until it has an answer.

use std::{collections::BTreeSet, time::Duration};

use domain::{OrderId, UserId};
use e2e::{
    consistency::ClientObservation,
    system::{ApiCaller, TestSystem},
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::schedule::{Purchase, SendMode};

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How long a customer looks what becomes of the order before doing something else. Whoever did not wait would bring
/// new orders to a system that is behind already, which then never catches up.
const STATUS_POLL_TIMEOUT: Duration = Duration::from_secs(180);

/// How often. Those who look all the time are a load of their own.
const STATUS_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// What came of a purchase, as its customer knows it.
#[derive(Debug)]
pub struct PurchaseOutcome {
    /// What the customer was told.
    pub observation: ClientObservation,
    /// How often a request had to be sent again, because there was no answer or none that says anything.
    pub retries: u64,
    /// Requests beyond those that one order needs.
    pub duplicate_requests: u64,
    /// An answer that no request of these may have.
    pub unexpected_responses: Vec<String>,
}

/// One customer, at one purchase.
pub struct OrderClient<'a> {
    /// The system.
    pub system: &'a TestSystem,
    /// Who buys.
    pub customer: ApiCaller,
    /// What is bought.
    pub purchase: &'a Purchase,
    /// The products' ids.
    pub products: &'a [String],
    /// Its name for this purchase.
    pub idempotency_key: String,
}

/// A definite answer, and how many requests before it had none.
type DefiniteResponse = (StatusCode, Value, u64);

impl OrderClient<'_> {
    /// Buys, and sees how it goes on.
    pub async fn place_order(&self) -> PurchaseOutcome {
        let mut bought = PurchaseOutcome {
            observation: ClientObservation {
                user_id: UserId(self.customer.id.parse().unwrap_or_default()),
                idempotency_key: self.idempotency_key.clone(),
                order_ids: BTreeSet::new(),
            },
            retries: 0,
            duplicate_requests: 0,
            unexpected_responses: Vec::new(),
        };
        let body = self.order_body(0);
        if self.purchase.send_mode == SendMode::TwiceConcurrently {
            let (one, other) = tokio::join!(self.post_order(&body), self.post_order(&body));
            bought.duplicate_requests += 1;
            bought.record_response(one);
            bought.record_response(other);
        } else {
            bought.record_response(self.post_order(&body).await);
        }
        if let Some(order_id) = bought.observation.order_ids.first().copied() {
            if let Some(delay) = self.purchase.cancel_after {
                sleep(delay).await;
                self.cancel_order(order_id, &mut bought).await;
            }
            self.poll_until_final(order_id).await;
        }
        match self.purchase.send_mode {
            SendMode::RepeatedLater => {
                bought.duplicate_requests += 1;
                bought.record_response(self.post_order(&body).await);
            }
            SendMode::KeyReusedLater => {
                bought.duplicate_requests += 1;
                let (status, answer, resent) = self.post_order(&self.order_body(1)).await;
                bought.retries += resent;
                if status != 422 {
                    bought.unexpected_responses.push(format!(
                        "another order under {} is answered {status}: {answer}",
                        self.idempotency_key
                    ));
                }
            }
            SendMode::Once | SendMode::TwiceConcurrently => {}
        }
        bought
    }

    fn order_body(&self, more: u32) -> Value {
        let lines = self.purchase.lines.iter();
        let items: Vec<Value> = lines
            .map(
                |(product, pieces)| json!({"product_id": self.products[*product], "quantity": pieces + more}),
            )
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

    async fn cancel_order(&self, order_id: OrderId, bought: &mut PurchaseOutcome) {
        let path = format!("/v1/orders/{order_id}/cancel");
        let (status, answer, resent) = self
            .send_until_definite(|| self.system.core_api_request(Method::POST, &path))
            .await;
        bought.retries += resent;
        let may_be = status == StatusCode::OK || status == StatusCode::CONFLICT;
        if !may_be {
            bought
                .unexpected_responses
                .push(format!("taking back {order_id} is answered {status}: {answer}"));
        }
    }

    /// Sends a request until there is an answer that says something.
    async fn send_until_definite(&self, request: impl Fn() -> RequestBuilder) -> DefiniteResponse {
        let mut pause = Duration::from_millis(100);
        let mut resent = 0;
        loop {
            let answer = timeout(ATTEMPT_TIMEOUT, self.send(request())).await;
            if let Ok(Some((status, body))) = answer {
                let in_progress = status == StatusCode::CONFLICT
                    && body["type"]
                        .as_str()
                        .is_some_and(|kind| kind.ends_with("request-in-progress"));
                if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS && !in_progress {
                    return (status, body, resent);
                }
            }
            resent += 1;
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

    /// Looks now and then until the order has ended, or the customer has looked enough.
    async fn poll_until_final(&self, order_id: OrderId) {
        let until = Instant::now() + STATUS_POLL_TIMEOUT;
        while Instant::now() < until {
            sleep(STATUS_POLL_INTERVAL).await;
            let path = format!("/v1/orders/{order_id}");
            let answer = self.send(self.system.core_api_request(Method::GET, &path)).await;
            let status = answer.and_then(|(_, order)| Some(order["status"].as_str()?.to_owned()));
            if status.is_some_and(|status| ["completed", "failed", "cancelled"].contains(&status.as_str())) {
                return;
            }
        }
    }
}

impl PurchaseOutcome {
    /// Notes the answer to an order.
    fn record_response(&mut self, (status, answer, resent): DefiniteResponse) {
        self.retries += resent;
        match answer["order_id"].as_str().and_then(|id| id.parse().ok()) {
            Some(order_id) if status == StatusCode::ACCEPTED => {
                _ = self.observation.order_ids.insert(order_id)
            }
            _ => self
                .unexpected_responses
                .push(format!("an order is answered {status}: {answer}")),
        }
    }
}
