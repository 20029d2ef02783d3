//! Orders whose payment the customer must authenticate with the bank (3D Secure).

use domain::OrderId;
use e2e::system::{
    ApiCaller, TestSystem, eventually,
    test_users::{email_address, status_history},
};
use fault_injection::{FunctionFault, NetworkFault, Rule, RuleId, Upstream};
use serde_json::{Value, json};

const METHOD: &str = "pm_card_threeDSecure2Required";

/// An order of one unit that waits for its customer.
struct WaitingOrder {
    system: TestSystem,
    customer: ApiCaller,
    product: String,
    order_id: OrderId,
    next_action: Value,
}

impl WaitingOrder {
    async fn place() -> Self {
        let system = TestSystem::shared();
        system.capture_events().await;
        let customer = system.customer().await;
        let product = system.create_product(7500, 10).await;
        let order_id = system.place_order(&customer, &product, 1, METHOD).await;
        let next_action = system.wait_for_next_action(&customer, order_id).await;
        let waiting = Self {
            system,
            customer,
            product,
            order_id,
            next_action,
        };
        assert_eq!(
            waiting.stock().await,
            (10, 1),
            "the stock stays reserved while the order waits"
        );
        waiting
    }

    /// The subject and the text of the order's only mail, after these events.
    async fn only_mail(&self, events: &[&str]) -> (String, String) {
        self.system.wait_for_notifications(self.order_id, events).await;
        let address = email_address(&self.customer.id);
        let mails = self.system.sent_mails(&address).await;
        assert_eq!(mails.len(), 1, "{mails:#?}");
        let text = |member: &str| mails[0][member].as_str().unwrap().to_owned();
        (text("Subject"), text("BodyText"))
    }

    async fn stock(&self) -> (i64, i64) {
        self.system.stock_quantities(&self.product).await
    }

    /// The order's only payment.
    async fn payment(&self) -> Value {
        let payments = self.system.payments(self.order_id).await;
        assert_eq!(payments.len(), 1, "{payments:?}");
        payments[0].clone()
    }

    async fn wait_for_end(&self) -> Value {
        let order = self
            .system
            .wait_for_final_status(&self.customer, self.order_id)
            .await;
        assert_eq!(order["next_action"], Value::Null);
        order
    }

    async fn assert_completed(&self) {
        let order = self.wait_for_end().await;
        assert_eq!(order["status"], "completed");
        let payment = self.payment().await;
        assert_eq!(payment["status"], "succeeded");
        let refunds = self.system.refunds(payment["id"].as_str().unwrap()).await;
        assert_eq!(refunds, [Value::Null; 0]);
        assert_eq!(self.stock().await, (9, 0));
    }

    /// Makes the provider refuse to cancel the payment until the rule is removed.
    async fn refuse_cancellation_of_the_payment(&self) -> RuleId {
        let refused = Rule::for_operation(
            Upstream::PaymentProvider,
            "POST /v1/payment_intents/{id}/cancel",
            NetworkFault::Refuse,
        );
        let payment = self.payment().await;
        let refused = refused.containing(payment["id"].as_str().unwrap());
        self.system.faults.add_rule(&refused).await.unwrap()
    }

    /// Approves the payment after the compensation has tried to cancel it, which `refusing` prevented.
    async fn approve_during_the_compensation(&self, refusing: RuleId) {
        let faults = &self.system.faults;
        eventually("the cancellation of the payment", async || {
            (faults.hits(refusing).await.unwrap() > 0).then_some(())
        })
        .await;
        let approved = self.system.authenticate(&self.next_action, "approve").await;
        assert_eq!(approved.0, 303);
        faults.remove_rule(refusing).await.unwrap();
    }

    async fn assert_refunded(&self) {
        let payment = self.payment().await;
        let payment_id = payment["id"].as_str().unwrap();
        eventually("the refund", async || {
            let refunds = self.system.refunds(payment_id).await;
            (refunds.len() == 1 && refunds[0]["amount"] == 7500).then_some(())
        })
        .await;
    }

    async fn assert_cancelled(&self) {
        let order = self.wait_for_end().await;
        assert_eq!(status_history(&order), ["pending", "processing", "cancelled"]);
        assert_eq!(self.stock().await, (10, 0));
    }

    async fn assert_failed(&self, reason: &str) {
        let order = self.wait_for_end().await;
        assert_eq!(
            (&order["status"], &order["reason"]),
            (&json!("failed"), &json!(reason))
        );
        assert_eq!(self.stock().await, (10, 0));
    }
}

#[tokio::test]
async fn approved_payment_completes_the_order() {
    let waiting = WaitingOrder::place().await;
    let (status, return_url) = waiting.system.authenticate(&waiting.next_action, "approve").await;
    let return_url = return_url.unwrap();
    assert_eq!(status, 303);
    assert!(
        return_url.contains(&format!("order_id={}", waiting.order_id))
            && return_url.contains("redirect_status=succeeded"),
        "{return_url}"
    );
    waiting.assert_completed().await;
}

/// The customer's browser returns to the shop, which tells core-api.
#[tokio::test]
async fn return_of_the_customer_makes_up_for_a_lost_webhook() {
    let waiting = WaitingOrder::place().await;
    let system = &waiting.system;
    let lost = Rule::for_function("payment-webhook", FunctionFault::ErrorBefore);
    let rule = system
        .faults
        .add_rule(&lost.containing(waiting.order_id))
        .await
        .unwrap();
    system.authenticate(&waiting.next_action, "approve").await;
    let returned = system
        .return_from_payment_action(&waiting.customer, waiting.order_id)
        .await;
    assert_eq!(returned.status, 202, "{}", returned.body);
    waiting.assert_completed().await;
    system.faults.remove_rule(rule).await.unwrap();
    let late = system
        .return_from_payment_action(&waiting.customer, waiting.order_id)
        .await;
    assert_eq!(late.expect_problem(409), "no-payment-action");
}

#[tokio::test]
async fn customer_who_returns_early_can_still_authenticate() {
    let waiting = WaitingOrder::place().await;
    let system = &waiting.system;
    let returned = system
        .return_from_payment_action(&waiting.customer, waiting.order_id)
        .await;
    assert_eq!(returned.status, 202, "{}", returned.body);
    let next_action = system
        .wait_for_next_action(&waiting.customer, waiting.order_id)
        .await;
    assert_eq!(next_action, waiting.next_action, "also the same end of the time");
    system.authenticate(&next_action, "approve").await;
    waiting.assert_completed().await;
}

#[tokio::test]
async fn denied_payment_fails_the_order() {
    let waiting = WaitingOrder::place().await;
    waiting.system.authenticate(&waiting.next_action, "deny").await;
    waiting.assert_failed("payment_declined").await;
    assert_eq!(waiting.payment().await["status"], "canceled");
}

#[tokio::test]
async fn payment_without_an_answer_expires() {
    let waiting = WaitingOrder::place().await;
    waiting.assert_failed("authentication_timeout").await;
    assert_eq!(waiting.payment().await["status"], "canceled");
    let late = waiting.system.authenticate(&waiting.next_action, "approve").await;
    assert_eq!(late, (404, None));
}

#[tokio::test]
async fn approval_after_the_time_is_refunded() {
    let waiting = WaitingOrder::place().await;
    let rule = waiting.refuse_cancellation_of_the_payment().await;
    waiting.approve_during_the_compensation(rule).await;
    waiting.assert_failed("authentication_timeout").await;
    waiting.assert_refunded().await;
}

/// The customer has closed the page of the bank.
#[tokio::test]
async fn waiting_order_can_be_cancelled() {
    let waiting = WaitingOrder::place().await;
    let system = &waiting.system;
    let cancelling = system.cancel_order(&waiting.customer, waiting.order_id).await;
    let order = cancelling.expect_status(202);
    assert_eq!(
        (&order["status"], &order["next_action"]),
        (&json!("processing"), &Value::Null)
    );
    waiting.assert_cancelled().await;
    assert_eq!(waiting.payment().await["status"], "canceled");
    let late = system.authenticate(&waiting.next_action, "approve").await;
    assert_eq!(late, (404, None));
    let again = system.cancel_order(&waiting.customer, waiting.order_id).await;
    assert_eq!(again.expect_status(200)["status"], "cancelled");
    let (subject, text) = waiting.only_mail(&["OrderCancelled"]).await;
    assert_eq!(subject, "Your Matsuri order is cancelled");
    assert!(text.contains("You have not been charged."), "{text}");
}

#[tokio::test]
async fn approval_after_the_cancellation_is_refunded() {
    let waiting = WaitingOrder::place().await;
    let rule = waiting.refuse_cancellation_of_the_payment().await;
    let cancelling = waiting
        .system
        .cancel_order(&waiting.customer, waiting.order_id)
        .await;
    cancelling.expect_status(202);
    waiting.approve_during_the_compensation(rule).await;
    waiting.assert_cancelled().await;
    waiting.assert_refunded().await;
    let (subject, text) = waiting.only_mail(&["OrderCancelled", "PaymentRefunded"]).await;
    assert_eq!(subject, "Your Matsuri order is cancelled");
    assert!(
        text.contains("We have refunded your payment in full.") && !text.contains("not been charged"),
        "{text}"
    );
}
