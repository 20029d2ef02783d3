//! A client that buys as a real one does: with one key until it has an answer.

use std::{collections::BTreeSet, time::Duration};

use domain::{OrderId, UserId};
use e2e::{
    books::Claim,
    system::{Person, System},
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::plan::{Purchase, Sending};

/// How long one attempt may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How long a customer looks what becomes of the order before doing something else. Whoever did not wait would bring
/// new orders to a system that is behind already, which then never catches up.
const LOOKS_FOR: Duration = Duration::from_secs(180);

/// How often. Those who look all the time are a load of their own.
const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// What came of a purchase, as its customer knows it.
#[derive(Debug)]
pub struct Bought {
    /// What the customer was told.
    pub claim: Claim,
    /// How often a request had to be sent again, because there was no answer or none that says anything.
    pub resent: u64,
    /// Requests beyond those that one order needs.
    pub repeated: u64,
    /// An answer that no request of these may have.
    pub wrong: Vec<String>,
}

/// One customer, at one purchase.
pub struct Buyer<'a> {
    /// The system.
    pub system: &'a System,
    /// Who buys.
    pub person: Person,
    /// What is bought.
    pub purchase: &'a Purchase,
    /// The products' ids.
    pub products: &'a [String],
    /// Its name for this purchase.
    pub key: String,
}

/// A definite answer, and how many requests before it had none.
type Answered = (StatusCode, Value, u64);

impl Buyer<'_> {
    /// Buys, and sees how it goes on.
    pub async fn buy(&self) -> Bought {
        let mut bought = Bought {
            claim: Claim {
                user_id: UserId(self.person.id.parse().unwrap_or_default()),
                key: self.key.clone(),
                order_ids: BTreeSet::new(),
            },
            resent: 0,
            repeated: 0,
            wrong: Vec::new(),
        };
        let body = self.body(0);
        if self.purchase.sending == Sending::TwiceAtOnce {
            let (one, other) = tokio::join!(self.post(&body), self.post(&body));
            bought.repeated += 1;
            bought.accepted(one);
            bought.accepted(other);
        } else {
            bought.accepted(self.post(&body).await);
        }
        if let Some(order_id) = bought.claim.order_ids.first().copied() {
            if let Some(delay) = self.purchase.cancelled_after {
                sleep(delay).await;
                self.cancel(order_id, &mut bought).await;
            }
            self.look(order_id).await;
        }
        match self.purchase.sending {
            Sending::AgainLater => {
                bought.repeated += 1;
                bought.accepted(self.post(&body).await);
            }
            Sending::OtherLater => {
                bought.repeated += 1;
                let (status, answer, resent) = self.post(&self.body(1)).await;
                bought.resent += resent;
                if status != 422 {
                    bought.wrong.push(format!(
                        "another order under {} is answered {status}: {answer}",
                        self.key
                    ));
                }
            }
            Sending::Once | Sending::TwiceAtOnce => {}
        }
        bought
    }

    fn body(&self, more: u32) -> Value {
        let lines = self.purchase.lines.iter();
        let items: Vec<Value> = lines
            .map(
                |(product, pieces)| json!({"product_id": self.products[*product], "quantity": pieces + more}),
            )
            .collect();
        json!({"items": items, "payment_method": self.purchase.method})
    }

    async fn post(&self, body: &Value) -> Answered {
        let request = || {
            self.system
                .api(Method::POST, "/v1/orders")
                .header("Idempotency-Key", &self.key)
        };
        self.insist(|| request().json(body)).await
    }

    async fn cancel(&self, order_id: OrderId, bought: &mut Bought) {
        let path = format!("/v1/orders/{order_id}/cancel");
        let (status, answer, resent) = self.insist(|| self.system.api(Method::POST, &path)).await;
        bought.resent += resent;
        let may_be = status == StatusCode::OK || status == StatusCode::CONFLICT;
        if !may_be {
            bought
                .wrong
                .push(format!("taking back {order_id} is answered {status}: {answer}"));
        }
    }

    /// Sends a request until there is an answer that says something.
    async fn insist(&self, request: impl Fn() -> RequestBuilder) -> Answered {
        let mut pause = Duration::from_millis(100);
        let mut resent = 0;
        loop {
            let answer = timeout(ANSWER_WITHIN, self.send(request())).await;
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
            pause = MAX_PAUSE.min(pause * 2);
        }
    }

    async fn send(&self, request: RequestBuilder) -> Option<(StatusCode, Value)> {
        let response = request.bearer_auth(&self.person.token).send().await.ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Looks now and then until the order has ended, or the customer has looked enough.
    async fn look(&self, order_id: OrderId) {
        let until = Instant::now() + LOOKS_FOR;
        while Instant::now() < until {
            sleep(LOOKS_EVERY).await;
            let path = format!("/v1/orders/{order_id}");
            let answer = self.send(self.system.api(Method::GET, &path)).await;
            let status = answer.and_then(|(_, order)| Some(order["status"].as_str()?.to_owned()));
            if status.is_some_and(|status| ["completed", "failed", "cancelled"].contains(&status.as_str())) {
                return;
            }
        }
    }
}

impl Bought {
    /// Notes the answer to an order.
    fn accepted(&mut self, (status, answer, resent): Answered) {
        self.resent += resent;
        match answer["order_id"].as_str().and_then(|id| id.parse().ok()) {
            Some(order_id) if status == StatusCode::ACCEPTED => _ = self.claim.order_ids.insert(order_id),
            _ => self
                .wrong
                .push(format!("an order is answered {status}: {answer}")),
        }
    }
}
