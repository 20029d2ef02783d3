//! process-payment and refund-payment: after each story, what was charged is what was given back, or the order
//! is on its way to completion.

use async_trait::async_trait;
use domain::{Money, OrderId, OrderStatus, PaymentId};
use lambda_shared::FunctionError;
use orders::Payment;
use saga::{
    SagaState, StepError,
    payments::{PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe},
    process_payment::{self, process_payment},
    refund_payment::{RefundOutcome, refund_payment},
};

use crate::support::TestContext;

impl TestContext {
    async fn pay(&self, state: &SagaState) -> Result<process_payment::ConfirmedPayment, StepError> {
        process_payment(&self.orders, &self.stripe, &self.publisher, state).await
    }

    async fn refund(&self, state: &SagaState) -> Result<RefundOutcome, StepError> {
        refund_payment(&self.orders, &self.stripe, &self.publisher, state).await
    }
}

fn error_name<T: std::fmt::Debug>(outcome: Result<T, StepError>) -> &'static str {
    outcome.unwrap_err().name()
}

/// The provider when it knows no key of the day before: it makes what it is asked for anew, or refuses it.
struct ExpiredIdempotencyKeys<'a> {
    stripe: &'a Stripe,
    create_result: Result<PaymentId, &'static str>,
}

#[async_trait]
impl PaymentProvider for ExpiredIdempotencyKeys<'_> {
    async fn create_intent(&self, _: OrderId, _: Money, _: &str) -> Result<PaymentId, PaymentError> {
        self.create_result.clone().map_err(|code| PaymentError::Declined {
            code: code.to_owned(),
        })
    }

    async fn confirm(&self, order: OrderId, payment: &PaymentId) -> Result<(), PaymentError> {
        self.stripe.confirm(order, payment).await
    }

    async fn find(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        self.stripe.find(payment).await
    }

    async fn refund(&self, order: OrderId, payment: &PaymentId) -> Result<(), PaymentError> {
        self.stripe.refund(order, payment).await
    }

    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        self.stripe.cancel(payment).await
    }
}

#[tokio::test]
async fn the_price_is_taken_once_however_often_the_step_runs() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_card_visa").await;
    let first = world.pay(&state).await.unwrap();
    assert_eq!(world.pay(&state).await.unwrap(), first);

    assert_eq!(world.charged_and_refunded(), (1_500, 0));
    let order = world.load_order(&state).await;
    assert_eq!(
        (order.status, order.payment),
        (OrderStatus::Processing, Some(Payment::Captured))
    );
    assert_eq!(order.payment_id, Some(first.payment_id));
    assert_eq!(
        world.pending_events().await,
        [""; 0],
        "the event was published right away"
    );
}

#[tokio::test]
async fn two_that_run_at_once_take_the_price_once() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_slow").await;
    let (one, other) = tokio::join!(world.pay(&state), world.pay(&state));
    // The provider answers a request whose twin is under way with a conflict, which is worth another try.
    for outcome in [one, other] {
        assert!(
            matches!(outcome, Ok(_) | Err(StepError::Unavailable { .. })),
            "{outcome:?}"
        );
    }
    world.pay(&state).await.unwrap();
    assert_eq!(world.charged_and_refunded(), (1_500, 0));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_error_after_effect").await;
    assert_eq!(error_name(world.pay(&state).await), "Unavailable");
    world.pay(&state).await.unwrap();
    assert_eq!(world.charged_and_refunded(), (1_500, 0));
}

#[tokio::test]
async fn a_declined_card_moves_no_money() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_card_chargeDeclined").await;
    assert_eq!(error_name(world.pay(&state).await), "PaymentDeclined");
    assert_eq!(error_name(world.pay(&state).await), "PaymentDeclined");
    assert_eq!(world.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn an_unknown_payment_method_is_declined_before_the_order_is_claimed() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_made_up").await;
    assert_eq!(error_name(world.pay(&state).await), "PaymentDeclined");
    assert_eq!(world.load_order(&state).await.status, OrderStatus::Pending);
}

#[tokio::test]
async fn a_cancelled_order_is_not_charged() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_card_visa").await;
    world.cancel_order(&state).await;
    assert_eq!(error_name(world.pay(&state).await), "OrderCancelled");
    assert_eq!(world.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn a_payment_that_wakes_after_the_compensation_is_refused() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_card_visa").await;
    assert_eq!(world.refund(&state).await.unwrap(), RefundOutcome::NothingCharged);
    assert_eq!(error_name(world.pay(&state).await), "OrderClosed");
    assert_eq!(world.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn an_order_that_does_not_exist_is_not_charged() {
    let world = TestContext::new().await;
    let state = world.nonexistent_order().await;
    assert_eq!(error_name(world.pay(&state).await), "InvalidInput");
    assert_eq!(world.refund(&state).await.unwrap(), RefundOutcome::NothingCharged);
    assert_eq!(world.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn a_bus_that_is_down_does_not_undo_a_payment() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_card_visa").await;
    let announcer = world.publisher_without_event_bus();
    process_payment(&world.orders, &world.stripe, &announcer, &state)
        .await
        .unwrap();
    assert_eq!(
        world.pending_events().await,
        ["PaymentProcessed"],
        "the relay will take it"
    );
}

#[tokio::test]
async fn what_was_taken_is_given_back_once() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_card_visa").await;
    let payment_id = world.pay(&state).await.unwrap().payment_id;
    let announcer = world.publisher_without_event_bus();
    for _ in 0..2 {
        let refund = refund_payment(&world.orders, &world.stripe, &announcer, &state)
            .await
            .unwrap();
        assert_eq!(
            refund,
            RefundOutcome::Refunded {
                payment_id: payment_id.clone()
            }
        );
    }
    assert_eq!(world.charged_and_refunded(), (1_500, 1_500));
    assert_eq!(world.load_order(&state).await.payment, Some(Payment::Refunded));
    assert_eq!(world.pending_events().await, ["PaymentRefunded"]);
}

#[tokio::test]
async fn what_was_taken_without_anybody_knowing_is_given_back() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_error_after_effect").await;
    assert_eq!(error_name(world.pay(&state).await), "Unavailable");
    assert_eq!(world.load_order(&state).await.payment, Some(Payment::Claimed));
    assert!(matches!(
        world.refund(&state).await.unwrap(),
        RefundOutcome::Refunded { .. }
    ));
    assert_eq!(world.charged_and_refunded(), (1_500, 1_500));
}

#[tokio::test]
async fn what_was_not_taken_can_never_be_taken_and_no_refund_is_told_of() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_card_visa").await;
    let payment_id = world.claim_for_payment(&state).await;
    let announcer = world.publisher_without_event_bus();
    for _ in 0..2 {
        let refund = refund_payment(&world.orders, &world.stripe, &announcer, &state)
            .await
            .unwrap();
        assert_eq!(
            refund,
            RefundOutcome::Cancelled {
                payment_id: payment_id.clone()
            }
        );
    }
    // The confirmation that was still on its way.
    assert!(world.stripe.confirm(state.order_id, &payment_id).await.is_err());
    assert_eq!(world.charged_and_refunded(), (0, 0));
    assert_eq!(world.pending_events().await, [""; 0]);
}

#[tokio::test]
async fn a_confirmation_and_a_refund_that_run_at_once_leave_nothing_charged() {
    for method in ["pm_card_visa", "pm_slow"] {
        let world = TestContext::new().await;
        let state = world.place_order(method).await;
        world.claim_for_payment(&state).await;
        let (_, refund) = tokio::join!(world.pay(&state), world.refund(&state));
        // The provider may refuse to cancel what it is just charging; the state machine tries again.
        if refund.is_err() {
            assert_eq!(error_name(refund), "Unavailable");
        }
        world.refund(&state).await.unwrap();
        let (charged, given_back) = world.charged_and_refunded();
        assert_eq!(charged, given_back, "{method}");
        assert!(world.pay(&state).await.is_err(), "{method}");
        assert_eq!(world.charged_and_refunded(), (charged, given_back), "{method}");
    }
}

#[tokio::test]
async fn an_order_whose_provider_forgot_its_payment_is_not_charged_twice() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_card_visa").await;
    let first = world.pay(&state).await.unwrap();

    // A day later the provider knows the order's key no more: it makes a second payment, or refuses the method.
    let other = world.place_order("pm_card_visa").await;
    let second = world.claim_for_payment(&other).await;
    for created in [Ok(second), Err("resource_missing")] {
        let provider = ExpiredIdempotencyKeys {
            stripe: &world.stripe,
            create_result: created,
        };
        let paid = process_payment(&world.orders, &provider, &world.publisher, &state).await;
        assert_eq!(paid.unwrap(), first);
    }
    assert_eq!(world.load_order(&state).await.payment_id, Some(first.payment_id));
    assert_eq!(world.charged_and_refunded(), (1_500, 0));
}

#[tokio::test]
async fn a_provider_that_is_out_of_reach_is_asked_again_later() {
    let world = TestContext::new().await;
    let state = world.place_order("pm_broken").await;
    assert_eq!(error_name(world.pay(&state).await), "Unavailable");
    assert!(matches!(
        world.refund(&state).await.unwrap(),
        RefundOutcome::Cancelled { .. }
    ));
    assert_eq!(world.charged_and_refunded(), (0, 0));
}
