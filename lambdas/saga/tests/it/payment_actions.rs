//! Tests of process-payment and refund-payment with payments that the customer must authenticate (3D Secure).

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::{http::StatusCode, response::IntoResponse};
use chrono::TimeDelta;
use domain::{Clock, Money, OrderId, OrderStatus, PaymentId, UserId};
use lambda_shared::{FunctionError, testing::start_proxy};
use orders::{OrderChange, OrdersWithOutbox, Payment, PaymentStep};
use saga::{
    SagaState, StepError,
    payments::{Confirmation, PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe},
    process_payment::{OutcomeStatus, PaymentOutcome, process_payment},
    refund_payment::{RefundOutcome, refund_payment},
};
use serde_json::json;

use crate::support::{RETURN_URL, TestContext, action_settings};

const METHOD: &str = "pm_card_threeDSecure2Required";
const TIME_LIMIT: TimeDelta = TimeDelta::minutes(10);

impl TestContext {
    /// Places an order and runs process-payment, which waits for the customer.
    pub async fn place_waiting_order(&self, payment_method: &str) -> (SagaState, PaymentId) {
        let state = self.place_order(payment_method).await;
        let outcome = self.pay(&state).await.unwrap();
        assert_eq!(outcome.status, OutcomeStatus::ActionRequired);
        assert!(self.load_order(&state).await.awaits_payment_action());
        (state, outcome.payment_id)
    }

    async fn refund_payment(&self, state: &SagaState) -> RefundOutcome {
        refund_payment(&self.store, &self.stripe, &self.publisher, state)
            .await
            .unwrap()
    }

    /// The orders as they are this many minutes later.
    fn orders_later(&self, minutes: i64) -> OrdersWithOutbox {
        let clock = Clock::from_fn(move || Clock::system().now() + TimeDelta::minutes(minutes));
        let dynamo = aws_sdk_dynamodb::Client::new(&self.aws);
        self.tables.open(dynamo, clock).store
    }
}

fn error_name(outcome: Result<PaymentOutcome, StepError>) -> &'static str {
    outcome.unwrap_err().name()
}

#[tokio::test]
async fn authenticated_payment_is_charged_in_the_next_execution() {
    let context = TestContext::new().await;
    let (state, payment_id) = context.place_waiting_order(METHOD).await;
    assert_eq!(context.charged_and_refunded(), (0, 0));
    let order = context.load_order(&state).await;
    assert_eq!(order.payment, Some(Payment::Claimed));
    let action = json!(order.payment_action);
    let intent = context.intent(&payment_id);
    assert_eq!(
        action,
        json!({
            "kind": "redirect_to_url", "client_secret": intent.client_secret,
            "redirect_url": intent.authentication.as_ref().unwrap().page_url,
        })
    );
    let return_url = intent.authentication.unwrap().return_url.unwrap();
    assert_eq!(return_url, format!("{RETURN_URL}?order_id={}", state.order_id));

    context.authenticate(&payment_id, "approve").await;
    for _ in 0..2 {
        let outcome = context.pay(&state).await.unwrap();
        assert_eq!(outcome.status, OutcomeStatus::Charged);
    }
    let order = context.load_order(&state).await;
    assert_eq!(
        (order.payment, order.payment_action),
        (Some(Payment::Captured), None)
    );
    assert_eq!(context.charged_and_refunded(), (1_500, 0));
}

#[tokio::test]
async fn repeated_runs_wait_for_the_same_authentication() {
    let context = TestContext::new().await;
    let (state, _) = context.place_waiting_order(METHOD).await;
    let first = context.load_order(&state).await;
    let orders = context.orders_later(5);
    let outcome = context.pay_with(&orders, TIME_LIMIT, &state).await.unwrap();
    assert_eq!(outcome.status, OutcomeStatus::ActionRequired);
    let second = context.load_order(&state).await;
    assert_eq!(
        (second.payment_action, second.payment_action_expires_at),
        (first.payment_action, first.payment_action_expires_at)
    );
}

#[tokio::test]
async fn history_has_each_step_of_the_payment_once_and_each_step_requests_a_push() {
    let context = TestContext::new().await;
    let (state, payment_id) = context.place_waiting_order(METHOD).await;
    assert_eq!(
        context.pay(&state).await.unwrap().status,
        OutcomeStatus::ActionRequired
    );
    context.authenticate(&payment_id, "approve").await;
    assert_eq!(context.pay(&state).await.unwrap().status, OutcomeStatus::Charged);
    let order = context.load_order(&state).await;
    let changes: Vec<OrderChange> = order.history.iter().map(|entry| entry.change).collect();
    assert_eq!(
        changes,
        [
            OrderChange::Status(OrderStatus::Pending),
            OrderChange::Status(OrderStatus::Processing),
            OrderChange::Payment(PaymentStep::ActionRequired),
            OrderChange::Payment(PaymentStep::Captured),
        ]
    );
    // The claim and the action, both times; then the claim only, because PaymentProcessed is an event.
    let requests = context.requested_pushes().await;
    assert_eq!(requests.len(), 5);
    assert!(
        requests
            .iter()
            .all(|request| (request.user_id, request.order_id) == (state.user_id, state.order_id))
    );
}

/// A gateway in front of Stripe refused the first confirmation, so that Stripe has no response under the
/// first idempotency key.
#[tokio::test]
async fn refused_confirmation_does_not_start_the_authentication_again() {
    let context = TestContext::new().await;
    let is_refused = AtomicBool::new(false);
    let url = start_proxy(&context.stripe_url, move |request, _| {
        let is_confirmation = request.uri.path().ends_with("/confirm");
        (is_confirmation && !is_refused.swap(true, Ordering::SeqCst))
            .then(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
    })
    .await;
    let stripe = Stripe::new(&url, &"sk_test_saga".into()).unwrap();
    let actions = action_settings(TIME_LIMIT);
    let state = context.place_order(METHOD).await;
    let pay = async || {
        let outcome = process_payment(
            &context.store,
            &stripe,
            &context.publisher,
            &context.status_push,
            &actions,
            &state,
        )
        .await;
        outcome.unwrap()
    };
    let mut pages = Vec::new();
    for _ in 0..2 {
        let payment_id = pay().await.payment_id;
        let order = context.load_order(&state).await;
        let authentication = context.intent(&payment_id).authentication.unwrap();
        assert_eq!(
            json!(order.payment_action)["redirect_url"],
            authentication.page_url,
            "the order must show the page on which the customer can authenticate"
        );
        pages.push(authentication.page_url);
    }
    assert_eq!(
        pages[0], pages[1],
        "the page that the customer has opened stays valid"
    );
    context.authenticate(&pay().await.payment_id, "approve").await;
    assert_eq!(pay().await.status, OutcomeStatus::Charged);
}

#[tokio::test]
async fn failed_authentication_and_declined_charge_are_declines() {
    for (method, choice, code) in [
        (METHOD, "deny", "payment_intent_authentication_failure"),
        (
            "pm_card_threeDSecureRequiredChargeDeclined",
            "approve",
            "generic_decline",
        ),
    ] {
        let context = TestContext::new().await;
        let (state, payment_id) = context.place_waiting_order(method).await;
        context.authenticate(&payment_id, choice).await;
        let declined = context.pay(&state).await;
        assert!(
            matches!(&declined, Err(StepError::PaymentDeclined(found)) if found == code),
            "{declined:?}"
        );
        assert_eq!(
            context.refund_payment(&state).await,
            RefundOutcome::Cancelled { payment_id }
        );
        assert_eq!(context.charged_and_refunded(), (0, 0), "{method}");
    }
}

/// The customer's browser has the client secret, and can confirm the payment with another card.
#[tokio::test]
async fn payment_with_another_card_after_a_decline_is_refunded() {
    let context = TestContext::new().await;
    let (state, payment_id) = context.place_waiting_order(METHOD).await;
    context.authenticate(&payment_id, "deny").await;
    assert_eq!(error_name(context.pay(&state).await), "PaymentDeclined");
    context.confirm_with_card(&payment_id, "pm_card_visa").await;
    assert_eq!(
        context.refund_payment(&state).await,
        RefundOutcome::Refunded { payment_id }
    );
    assert_eq!(context.charged_and_refunded(), (1_500, 1_500));
}

#[tokio::test]
async fn payment_without_an_answer_expires_and_is_cancelled() {
    let context = TestContext::new().await;
    let (state, payment_id) = context.place_waiting_order(METHOD).await;
    let later = context.orders_later(11);
    assert_eq!(
        error_name(context.pay_with(&later, TIME_LIMIT, &state).await),
        "PaymentActionExpired"
    );
    assert_eq!(
        context.refund_payment(&state).await,
        RefundOutcome::Cancelled {
            payment_id: payment_id.clone()
        }
    );
    assert_eq!(context.load_order(&state).await.payment_action, None);
    context.authenticate(&payment_id, "approve").await;
    assert_eq!(error_name(context.pay(&state).await), "OrderClosed");
    assert_eq!(context.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn success_that_the_saga_finds_after_the_time_completes_the_payment() {
    let context = TestContext::new().await;
    let (state, payment_id) = context.place_waiting_order(METHOD).await;
    context.authenticate(&payment_id, "approve").await;
    let later = context.orders_later(11);
    let outcome = context.pay_with(&later, TIME_LIMIT, &state).await.unwrap();
    assert_eq!(outcome.status, OutcomeStatus::Charged);
}

#[tokio::test]
async fn success_during_the_compensation_is_refunded() {
    let context = TestContext::new().await;
    let (state, payment_id) = context.place_waiting_order(METHOD).await;
    context.close_to_payment(&state).await;
    context.authenticate(&payment_id, "approve").await;
    assert_eq!(
        context.refund_payment(&state).await,
        RefundOutcome::Refunded { payment_id }
    );
    assert_eq!(context.charged_and_refunded(), (1_500, 1_500));
}

#[tokio::test]
async fn cancelled_waiting_order_ends_with_its_payment_cancelled_or_refunded() {
    for is_authenticated in [false, true] {
        let context = TestContext::new().await;
        let (state, payment_id) = context.place_waiting_order(METHOD).await;
        context.cancel_order(&state).await;
        if is_authenticated {
            context.authenticate(&payment_id, "approve").await;
        }
        assert_eq!(error_name(context.pay(&state).await), "OrderClosed");
        let (refund, charged) = match is_authenticated {
            false => (RefundOutcome::Cancelled { payment_id }, 0),
            true => (RefundOutcome::Refunded { payment_id }, 1_500),
        };
        assert_eq!(context.refund_payment(&state).await, refund);
        assert_eq!(context.charged_and_refunded(), (charged, charged));
        context.fail_order(&state).await;
        assert_eq!(context.load_order(&state).await.status, OrderStatus::Cancelled);
    }
}

/// A payment that the customer authenticates after the first confirmation, before the order awaits it.
struct AuthenticatedMeanwhile<'a> {
    context: &'a TestContext,
    is_confirmed: AtomicBool,
}

#[async_trait]
impl PaymentProvider for AuthenticatedMeanwhile<'_> {
    async fn create_intent(
        &self,
        user: UserId,
        order: OrderId,
        amount: Money,
        payment_method: &str,
    ) -> Result<PaymentId, PaymentError> {
        let stripe = &self.context.stripe;
        stripe.create_intent(user, order, amount, payment_method).await
    }

    async fn confirm(
        &self,
        order: OrderId,
        payment: &PaymentId,
        return_url: &str,
    ) -> Result<Confirmation, PaymentError> {
        let confirmed = self.context.stripe.confirm(order, payment, return_url).await;
        if !self.is_confirmed.swap(true, Ordering::SeqCst) {
            self.context.authenticate(payment, "approve").await;
        }
        confirmed
    }

    async fn find_confirmation(&self, payment: &PaymentId) -> Result<Option<Confirmation>, PaymentError> {
        self.context.stripe.find_confirmation(payment).await
    }

    async fn find(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        self.context.stripe.find(payment).await
    }

    async fn refund(&self, order: OrderId, payment: &PaymentId, amount: Money) -> Result<(), PaymentError> {
        self.context.stripe.refund(order, payment, amount).await
    }

    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        self.context.stripe.cancel(payment).await
    }
}

#[tokio::test]
async fn authentication_before_the_order_awaits_it_is_noticed() {
    let context = TestContext::new().await;
    let state = context.place_order(METHOD).await;
    let provider = AuthenticatedMeanwhile {
        context: &context,
        is_confirmed: AtomicBool::new(false),
    };
    let actions = action_settings(TIME_LIMIT);
    let outcome = process_payment(
        &context.store,
        &provider,
        &context.publisher,
        &context.status_push,
        &actions,
        &state,
    )
    .await;
    assert_eq!(outcome.unwrap().status, OutcomeStatus::Charged);
    let order = context.load_order(&state).await;
    assert_eq!(
        (order.status, order.payment, order.payment_action),
        (OrderStatus::Processing, Some(Payment::Captured), None)
    );
}
