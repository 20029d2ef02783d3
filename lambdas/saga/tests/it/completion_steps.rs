//! Tests of complete-order, fail-order and send-notification: an order ends once and publishes one final
//! event.

use domain::{FailureReason, OrderStatus};
use lambda_shared::FunctionError;
use saga::{
    CaughtError, SagaState, complete_order::complete_order, fail_order::fail_order,
    refund_payment::refund_payment, send_notification::send_notification,
};

use crate::support::TestContext;

impl TestContext {
    async fn place_paid_order(&self) -> SagaState {
        let state = self.place_order("pm_card_visa").await;
        self.pay(&state).await.unwrap();
        state
    }

    async fn notify(&self, state: &SagaState) -> bool {
        send_notification(&self.orders, &self.publisher, state)
            .await
            .unwrap()
            .published
            .is_some()
    }
}

/// The state after a step failed with `error`.
fn with_error(state: SagaState, error: &str) -> SagaState {
    SagaState {
        error: Some(CaughtError {
            name: error.to_owned(),
        }),
        ..state
    }
}

#[tokio::test]
async fn paid_order_completes_once_and_publishes_one_event() {
    let context = TestContext::new().await;
    let mut state = context.place_paid_order().await;
    context.requested_pushes().await;
    let completion = complete_order(&context.store, &context.status_push, &state)
        .await
        .unwrap();
    assert_eq!(
        complete_order(&context.store, &context.status_push, &state)
            .await
            .unwrap(),
        completion
    );
    assert_eq!(context.load_order(&state).await.status, OrderStatus::Completed);
    assert_eq!(context.pending_events().await, ["OrderCompleted"]);
    let requests = context.requested_pushes().await;
    let orders: Vec<_> = requests.iter().map(|request| request.order_id).collect();
    assert_eq!(orders, [state.order_id; 2], "each run requests a push");

    state.completion = Some(completion);
    assert!(context.notify(&state).await);
    assert!(!context.notify(&state).await);
    assert_eq!(context.pending_events().await, [""; 0]);
}

#[tokio::test]
async fn order_closed_by_compensation_cannot_be_completed() {
    let context = TestContext::new().await;
    let state = context.place_paid_order().await;
    context.close_to_payment(&state).await;
    assert_eq!(
        complete_order(&context.store, &context.status_push, &state)
            .await
            .unwrap_err()
            .name(),
        "OrderClosed"
    );
    assert_eq!(context.pending_events().await, [""; 0]);
}

#[tokio::test]
async fn completion_with_lost_response_is_kept_and_published() {
    let context = TestContext::new().await;
    let state = context.place_paid_order().await;
    complete_order(&context.store, &context.status_push, &state)
        .await
        .unwrap();

    let compensating = with_error(state, "Lambda.Unknown");
    let refund = refund_payment(&context.store, &context.stripe, &context.publisher, &compensating).await;
    assert_eq!(refund.unwrap_err().name(), "OrderAlreadyCompleted");
    assert_eq!(context.charged_and_refunded(), (1_500, 0));
    assert!(
        context.notify(&compensating).await,
        "the event id must be read from the order"
    );
}

#[tokio::test]
async fn failure_reason_is_derived_from_the_step_error() {
    for (error, reason) in [
        ("InsufficientStock", FailureReason::InsufficientStock),
        ("StockHeld", FailureReason::InsufficientStock),
        ("PaymentDeclined", FailureReason::PaymentDeclined),
        ("PaymentActionExpired", FailureReason::AuthenticationTimeout),
        ("Unavailable", FailureReason::InternalError),
        ("ReservationExpired", FailureReason::InternalError),
        ("States.Timeout", FailureReason::InternalError),
        ("Lambda.Unknown", FailureReason::InternalError),
    ] {
        let context = TestContext::new().await;
        let mut state = with_error(context.place_order("pm_card_visa").await, error);
        let failure = fail_order(&context.store, &state).await.unwrap();
        assert_eq!(fail_order(&context.store, &state).await.unwrap(), failure);
        let order = context.load_order(&state).await;
        assert_eq!(
            (order.status, order.reason),
            (OrderStatus::Failed, Some(reason)),
            "{error}"
        );
        assert_eq!(context.pending_events().await, ["OrderFailed"]);

        state.failure = Some(failure);
        assert!(context.notify(&state).await);
        assert!(!context.notify(&state).await);
    }
}

#[tokio::test]
async fn cancelled_order_stays_cancelled_without_a_new_event() {
    let context = TestContext::new().await;
    let mut state = context.place_order("pm_card_visa").await;
    context.cancel_order(&state).await;
    state = with_error(state, "OrderCancelled");
    let failure = fail_order(&context.store, &state).await.unwrap();
    assert_eq!(failure.event_id, None);
    state.failure = Some(failure);
    assert!(!context.notify(&state).await);
    assert_eq!(context.load_order(&state).await.status, OrderStatus::Cancelled);
}

#[tokio::test]
async fn second_execution_does_not_fail_a_completed_order() {
    let context = TestContext::new().await;
    let state = context.place_paid_order().await;
    complete_order(&context.store, &context.status_push, &state)
        .await
        .unwrap();
    let second_execution = with_error(state, "Unavailable");
    assert_eq!(
        fail_order(&context.store, &second_execution)
            .await
            .unwrap()
            .event_id,
        None
    );
    assert_eq!(
        context.load_order(&second_execution).await.status,
        OrderStatus::Completed
    );
}

#[tokio::test]
async fn saga_of_nonexistent_order_ends() {
    let context = TestContext::new().await;
    let mut state = with_error(context.nonexistent_order().await, "InvalidInput");
    let failure = fail_order(&context.store, &state).await.unwrap();
    assert_eq!(failure.event_id, None);
    state.failure = Some(failure);
    assert!(!context.notify(&state).await);
    assert_eq!(
        complete_order(&context.store, &context.status_push, &state)
            .await
            .unwrap_err()
            .name(),
        "InvalidInput"
    );
}

#[tokio::test]
async fn rejected_event_remains_in_the_outbox() {
    let context = TestContext::new().await;
    let mut state = context.place_paid_order().await;
    state.completion = Some(
        complete_order(&context.store, &context.status_push, &state)
            .await
            .unwrap(),
    );
    let publisher = context.publisher_without_event_bus();
    let result = send_notification(&context.orders, &publisher, &state).await;
    assert_eq!(result.unwrap_err().name(), "Unavailable");
    assert_eq!(context.pending_events().await, ["OrderCompleted"]);
}
