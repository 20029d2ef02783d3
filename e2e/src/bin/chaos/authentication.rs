//! Responds to requests to authenticate a payment (3D Secure), on the page of the payment provider as in a
//! browser.

use std::time::Duration;

use chrono::TimeDelta;
use domain::{OrderId, Timestamp};
use e2e::consistency::Authentication;
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    client::{OrderClient, PurchaseOutcome},
    schedule::AuthenticationResponse,
};

/// How long before the time limit an approval is in time with certainty. An execution of the saga that ends
/// the order may have looked at the payment just before the customer approves it.
const SAFE_MARGIN: TimeDelta = TimeDelta::seconds(15);

/// How long after the time limit a customer approves too late.
const DELAY_AFTER_TIME_LIMIT: TimeDelta = TimeDelta::seconds(1);

impl OrderClient<'_> {
    /// Responds as the purchase defines. Returns what the payment provider confirmed.
    pub async fn respond_to_authentication(
        &self,
        order_id: OrderId,
        next_action: &Value,
        outcome: &mut PurchaseOutcome,
    ) -> Authentication {
        let expires_at = next_action["expires_at"].as_str().map(str::parse::<Timestamp>);
        let expires_at = expires_at
            .expect("an action has an end")
            .expect("a time is RFC 3339");
        let choice = match self.purchase.authentication {
            AuthenticationResponse::Approve => "approve",
            AuthenticationResponse::ApproveLater => {
                self.sleep_until(expires_at - (expires_at - self.system.now()) / 2)
                    .await;
                "approve"
            }
            AuthenticationResponse::ApproveTooLate => {
                self.sleep_until(expires_at + DELAY_AFTER_TIME_LIMIT).await;
                "approve"
            }
            AuthenticationResponse::Deny => "deny",
            AuthenticationResponse::Cancel => {
                self.cancel_order(order_id, outcome).await;
                return Authentication::Unanswered;
            }
            AuthenticationResponse::Leave => {
                self.system.open_authentication_page(next_action).await;
                return Authentication::Unanswered;
            }
        };
        let (status, location) = self.system.authenticate(next_action, choice).await;
        // The saga has cancelled the payment, or the order was cancelled.
        if status == 404 {
            return Authentication::Unanswered;
        }
        let is_late = self.system.now() + SAFE_MARGIN > expires_at;
        let return_url = location.expect("the page sends the customer back to the shop");
        if self.purchase.returns_to_shop {
            self.return_to_shop(order_id, outcome).await;
        }
        match (redirect_status(&return_url).as_deref(), is_late) {
            (Some("succeeded"), false) => Authentication::Approved,
            (Some("succeeded"), true) => Authentication::ApprovedLate,
            _ => Authentication::Refused,
        }
    }

    /// Tells core-api that the customer is back, as the shop's page does.
    async fn return_to_shop(&self, order_id: OrderId, outcome: &mut PurchaseOutcome) {
        let path = format!("/v1/orders/{order_id}/payment-action/return");
        let (status, body, retries) = self
            .send_until_definite(|| self.system.core_api_request(Method::POST, &path))
            .await;
        outcome.retries += retries;
        // 409: the payment provider's event came first.
        if status != StatusCode::ACCEPTED && status != StatusCode::CONFLICT {
            outcome.unexpected_responses.push(format!(
                "the return to order {order_id} received {status}: {body}"
            ));
        }
    }

    async fn sleep_until(&self, time: Timestamp) {
        let remaining = (time - self.system.now()).to_std();
        // Negative when the time has passed.
        sleep(remaining.unwrap_or(Duration::ZERO)).await;
    }
}

/// What the payment provider tells the shop's page about the authentication.
fn redirect_status(return_url: &str) -> Option<String> {
    let url = Url::parse(return_url).ok()?;
    let mut parameters = url.query_pairs();
    let (_, status) = parameters.find(|(name, _)| name == "redirect_status")?;
    Some(status.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_among_other_parameters() {
        let url = "https://shop.example/paid?order_id=1&payment_intent=pi_1&redirect_status=succeeded";
        assert_eq!(redirect_status(url).as_deref(), Some("succeeded"));
        assert_eq!(redirect_status("https://shop.example/paid"), None);
    }
}
