//! Tests of process-payment and refund-payment: after each scenario the charged amount has been refunded, or
//! the order can still complete.

use async_trait::async_trait;
use chrono::TimeDelta;
use domain::{Money, OrderId, OrderStatus, PaymentId, UserId};
use lambda_shared::FunctionError;
use orders::Payment;
use saga::{
    SagaState, StepError,
    payments::{Confirmation, PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe},
    process_payment::process_payment,
    refund_payment::{RefundOutcome, refund_payment},
};

use crate::support::{RETURN_URL, TestContext, action_settings};

impl TestContext {
    async fn refund(&self, state: &SagaState) -> Result<RefundOutcome, StepError> {
        refund_payment(&self.store, &self.stripe, &self.publisher, state).await
    }
}

fn error_name<T: std::fmt::Debug>(outcome: Result<T, StepError>) -> &'static str {
    outcome.unwrap_err().name()
}

/// A provider that has forgotten the idempotency keys of the day before. It creates a second payment or
/// declines the payment method, as `create_result` says.
struct ExpiredIdempotencyKeys<'a> {
    stripe: &'a Stripe,
    create_result: Result<PaymentId, &'static str>,
}

#[async_trait]
impl PaymentProvider for ExpiredIdempotencyKeys<'_> {
    async fn create_intent(
        &self,
        _: UserId,
        _: OrderId,
        _: Money,
        _: &str,
    ) -> Result<PaymentId, PaymentError> {
        self.create_result.clone().map_err(|code| PaymentError::Declined {
            code: code.to_owned(),
        })
    }

    async fn confirm(
        &self,
        order: OrderId,
        payment: &PaymentId,
        return_url: &str,
    ) -> Result<Confirmation, PaymentError> {
        self.stripe.confirm(order, payment, return_url).await
    }

    async fn find_confirmation(&self, payment: &PaymentId) -> Result<Option<Confirmation>, PaymentError> {
        self.stripe.find_confirmation(payment).await
    }

    async fn find(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        self.stripe.find(payment).await
    }

    async fn refund(&self, order: OrderId, payment: &PaymentId, amount: Money) -> Result<(), PaymentError> {
        self.stripe.refund(order, payment, amount).await
    }

    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        self.stripe.cancel(payment).await
    }
}

#[tokio::test]
async fn repeated_runs_charge_once() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_visa").await;
    let first = context.pay(&state).await.unwrap();
    assert_eq!(context.pay(&state).await.unwrap(), first);

    assert_eq!(context.charged_and_refunded(), (1_500, 0));
    let order = context.load_order(&state).await;
    assert_eq!(
        (order.status, order.payment),
        (OrderStatus::Processing, Some(Payment::Captured))
    );
    assert_eq!(order.payment_id, Some(first.payment_id));
    assert_eq!(
        context.pending_events().await,
        [""; 0],
        "the event must be published immediately"
    );
}

#[tokio::test]
async fn concurrent_runs_charge_once() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_slow").await;
    let (one, other) = tokio::join!(context.pay(&state), context.pay(&state));
    // The provider returns a conflict while the same request is in progress, which is retryable.
    for outcome in [one, other] {
        assert!(
            matches!(outcome, Ok(_) | Err(StepError::Unavailable { .. })),
            "{outcome:?}"
        );
    }
    context.pay(&state).await.unwrap();
    assert_eq!(context.charged_and_refunded(), (1_500, 0));
}

#[tokio::test]
async fn lost_and_replaced_responses_charge_once() {
    for method in [
        "pm_error_after_effect",
        "pm_error_before_effect",
        "pm_error_after_confirm",
        "pm_error_before_create",
        "pm_error_after_create",
    ] {
        let context = TestContext::new().await;
        let state = context.place_order(method).await;
        for _ in 0..2 {
            context.pay(&state).await.unwrap();
        }
        assert_eq!(context.charged_and_refunded(), (1_500, 0), "{method}");
    }
}

#[tokio::test]
async fn declined_card_is_not_charged() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_chargeDeclined").await;
    assert_eq!(error_name(context.pay(&state).await), "PaymentDeclined");
    assert_eq!(error_name(context.pay(&state).await), "PaymentDeclined");
    assert_eq!(context.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn unknown_payment_method_is_declined_before_the_claim() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_made_up").await;
    assert_eq!(error_name(context.pay(&state).await), "PaymentDeclined");
    assert_eq!(context.load_order(&state).await.status, OrderStatus::Pending);
}

#[tokio::test]
async fn cancelled_order_is_not_charged() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_visa").await;
    context.cancel_order(&state).await;
    assert_eq!(error_name(context.pay(&state).await), "OrderCancelled");
    assert_eq!(context.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn late_payment_after_compensation_is_rejected() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_visa").await;
    assert_eq!(
        context.refund(&state).await.unwrap(),
        RefundOutcome::NothingCharged
    );
    assert_eq!(error_name(context.pay(&state).await), "OrderClosed");
    assert_eq!(context.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn nonexistent_order_is_not_charged() {
    let context = TestContext::new().await;
    let state = context.nonexistent_order().await;
    assert_eq!(error_name(context.pay(&state).await), "InvalidInput");
    assert_eq!(
        context.refund(&state).await.unwrap(),
        RefundOutcome::NothingCharged
    );
    assert_eq!(context.charged_and_refunded(), (0, 0));
}

#[tokio::test]
async fn payment_succeeds_while_the_event_bus_is_down() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_visa").await;
    let publisher = context.publisher_without_event_bus();
    process_payment(
        &context.store,
        &context.stripe,
        &publisher,
        &context.status_push,
        &action_settings(TimeDelta::minutes(10)),
        &state,
    )
    .await
    .unwrap();
    assert_eq!(
        context.pending_events().await,
        ["PaymentProcessed"],
        "the outbox relay publishes it later"
    );
}

#[tokio::test]
async fn charged_payment_is_refunded_once() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_visa").await;
    let payment_id = context.pay(&state).await.unwrap().payment_id;
    let publisher = context.publisher_without_event_bus();
    for _ in 0..2 {
        let refund = refund_payment(&context.store, &context.stripe, &publisher, &state)
            .await
            .unwrap();
        assert_eq!(
            refund,
            RefundOutcome::Refunded {
                payment_id: payment_id.clone()
            }
        );
    }
    assert_eq!(context.charged_and_refunded(), (1_500, 1_500));
    assert_eq!(context.load_order(&state).await.payment, Some(Payment::Refunded));
    assert_eq!(context.pending_events().await, ["PaymentRefunded"]);
}

#[tokio::test]
async fn unrecorded_charge_is_refunded() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_visa").await;
    let payment_id = context.claim_for_payment(&state).await;
    // The step ends before it records the payment.
    context
        .stripe
        .confirm(state.order_id, &payment_id, RETURN_URL)
        .await
        .unwrap();
    assert_eq!(context.load_order(&state).await.payment, Some(Payment::Claimed));
    assert!(matches!(
        context.refund(&state).await.unwrap(),
        RefundOutcome::Refunded { .. }
    ));
    assert_eq!(context.charged_and_refunded(), (1_500, 1_500));
}

#[tokio::test]
async fn stored_error_of_the_refund_refunds_once() {
    for method in ["pm_error_before_refund", "pm_error_after_refund"] {
        let context = TestContext::new().await;
        let state = context.place_order(method).await;
        context.pay(&state).await.unwrap();
        for _ in 0..2 {
            assert!(matches!(
                context.refund(&state).await.unwrap(),
                RefundOutcome::Refunded { .. }
            ));
        }
        assert_eq!(context.charged_and_refunded(), (1_500, 1_500), "{method}");
    }
}

#[tokio::test]
async fn failed_cancellation_charges_nothing() {
    for (method, is_first_successful) in [("pm_error_before_cancel", false), ("pm_error_after_cancel", true)]
    {
        let context = TestContext::new().await;
        let state = context.place_order(method).await;
        assert_eq!(error_name(context.pay(&state).await), "Unavailable");
        let first = context.refund(&state).await;
        if is_first_successful {
            assert!(matches!(first.unwrap(), RefundOutcome::Cancelled { .. }));
        } else {
            assert_eq!(error_name(first), "Unavailable");
        }
        assert!(matches!(
            context.refund(&state).await.unwrap(),
            RefundOutcome::Cancelled { .. }
        ));
        assert_eq!(context.charged_and_refunded(), (0, 0), "{method}");
    }
}

#[tokio::test]
async fn uncharged_payment_is_cancelled_without_a_refund_event() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_visa").await;
    let payment_id = context.claim_for_payment(&state).await;
    let publisher = context.publisher_without_event_bus();
    for _ in 0..2 {
        let refund = refund_payment(&context.store, &context.stripe, &publisher, &state)
            .await
            .unwrap();
        assert_eq!(
            refund,
            RefundOutcome::Cancelled {
                payment_id: payment_id.clone()
            }
        );
    }
    // A delayed confirmation.
    assert!(
        context
            .stripe
            .confirm(state.order_id, &payment_id, RETURN_URL)
            .await
            .is_err()
    );
    assert_eq!(context.charged_and_refunded(), (0, 0));
    assert_eq!(context.pending_events().await, [""; 0]);
}

#[tokio::test]
async fn concurrent_confirmation_and_refund_leave_nothing_charged() {
    for method in ["pm_card_visa", "pm_slow"] {
        let context = TestContext::new().await;
        let state = context.place_order(method).await;
        context.claim_for_payment(&state).await;
        let (_, refund) = tokio::join!(context.pay(&state), context.refund(&state));
        // The provider can reject a cancellation while it is charging the payment; the state machine retries.
        if refund.is_err() {
            assert_eq!(error_name(refund), "Unavailable");
        }
        context.refund(&state).await.unwrap();
        let (charged, refunded) = context.charged_and_refunded();
        assert_eq!(charged, refunded, "{method}");
        assert!(context.pay(&state).await.is_err(), "{method}");
        assert_eq!(context.charged_and_refunded(), (charged, refunded), "{method}");
    }
}

#[tokio::test]
async fn expired_idempotency_key_does_not_charge_twice() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_card_visa").await;
    let first = context.pay(&state).await.unwrap();

    // A day later the provider has forgotten the idempotency key: it creates a second payment or declines the
    // method.
    let other = context.place_order("pm_card_visa").await;
    let second = context.claim_for_payment(&other).await;
    for create_result in [Ok(second), Err("resource_missing")] {
        let provider = ExpiredIdempotencyKeys {
            stripe: &context.stripe,
            create_result,
        };
        let paid = process_payment(
            &context.store,
            &provider,
            &context.publisher,
            &context.status_push,
            &action_settings(TimeDelta::minutes(10)),
            &state,
        )
        .await;
        assert_eq!(paid.unwrap(), first);
    }
    assert_eq!(
        context.load_order(&state).await.payment_id,
        Some(first.payment_id)
    );
    assert_eq!(context.charged_and_refunded(), (1_500, 0));
}

#[tokio::test]
async fn unavailable_provider_is_retryable_and_the_payment_can_be_cancelled() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_broken").await;
    assert_eq!(error_name(context.pay(&state).await), "Unavailable");
    assert!(matches!(
        context.refund(&state).await.unwrap(),
        RefundOutcome::Cancelled { .. }
    ));
    assert_eq!(context.charged_and_refunded(), (0, 0));
}
