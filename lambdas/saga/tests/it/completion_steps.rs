//! complete-order, fail-order and send-notification: an order ends once, and one event tells of it.

use domain::{FailureReason, OrderStatus};
use lambda_shared::FunctionError;
use saga::{
    CaughtError, SagaState, complete_order::complete_order, fail_order::fail_order,
    process_payment::process_payment, refund_payment::refund_payment, send_notification::send_notification,
};

use crate::support::TestContext;

impl TestContext {
    async fn place_paid_order(&self) -> SagaState {
        let state = self.place_order("pm_card_visa").await;
        process_payment(&self.orders, &self.stripe, &self.publisher, &state)
            .await
            .unwrap();
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
async fn a_paid_order_is_completed_once_and_announced_once() {
    let world = TestContext::new().await;
    let mut state = world.place_paid_order().await;
    let completion = complete_order(&world.orders, &state).await.unwrap();
    assert_eq!(complete_order(&world.orders, &state).await.unwrap(), completion);
    assert_eq!(world.load_order(&state).await.status, OrderStatus::Completed);
    assert_eq!(world.pending_events().await, ["OrderCompleted"]);

    state.completion = Some(completion);
    assert!(world.notify(&state).await);
    assert!(!world.notify(&state).await);
    assert_eq!(world.pending_events().await, [""; 0]);
}

#[tokio::test]
async fn an_order_that_is_being_compensated_cannot_be_completed() {
    let world = TestContext::new().await;
    let state = world.place_paid_order().await;
    world.close_to_payment(&state).await;
    assert_eq!(
        complete_order(&world.orders, &state).await.unwrap_err().name(),
        "OrderClosed"
    );
    assert_eq!(world.pending_events().await, [""; 0]);
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_stands_and_is_announced() {
    let world = TestContext::new().await;
    let state = world.place_paid_order().await;
    complete_order(&world.orders, &state).await.unwrap();

    let compensated = with_error(state, "Lambda.Unknown");
    let refused = refund_payment(&world.orders, &world.stripe, &world.publisher, &compensated).await;
    assert_eq!(refused.unwrap_err().name(), "OrderAlreadyCompleted");
    assert_eq!(world.charged_and_refunded(), (1_500, 0));
    assert!(
        world.notify(&compensated).await,
        "although no step has named the event"
    );
}

#[tokio::test]
async fn the_customer_learns_why_an_order_failed() {
    for (error, reason) in [
        ("InsufficientStock", FailureReason::InsufficientStock),
        ("PaymentDeclined", FailureReason::PaymentDeclined),
        ("Unavailable", FailureReason::InternalError),
        ("ReservationExpired", FailureReason::InternalError),
        ("States.Timeout", FailureReason::InternalError),
        ("Lambda.Unknown", FailureReason::InternalError),
    ] {
        let world = TestContext::new().await;
        let mut state = with_error(world.place_order("pm_card_visa").await, error);
        let failure = fail_order(&world.orders, &state).await.unwrap();
        assert_eq!(fail_order(&world.orders, &state).await.unwrap(), failure);
        let order = world.load_order(&state).await;
        assert_eq!(
            (order.status, order.reason),
            (OrderStatus::Failed, Some(reason)),
            "{error}"
        );
        assert_eq!(world.pending_events().await, ["OrderFailed"]);

        state.failure = Some(failure);
        assert!(world.notify(&state).await);
        assert!(!world.notify(&state).await);
    }
}

#[tokio::test]
async fn a_cancelled_order_stays_so_and_there_is_nothing_more_to_tell() {
    let world = TestContext::new().await;
    let mut state = world.place_order("pm_card_visa").await;
    world.cancel_order(&state).await;
    state = with_error(state, "OrderCancelled");
    let failure = fail_order(&world.orders, &state).await.unwrap();
    assert_eq!(failure.event_id, None);
    state.failure = Some(failure);
    assert!(!world.notify(&state).await);
    assert_eq!(world.load_order(&state).await.status, OrderStatus::Cancelled);
}

#[tokio::test]
async fn a_completed_order_is_not_failed_by_a_second_execution() {
    let world = TestContext::new().await;
    let state = world.place_paid_order().await;
    complete_order(&world.orders, &state).await.unwrap();
    let second = with_error(state, "Unavailable");
    assert_eq!(fail_order(&world.orders, &second).await.unwrap().event_id, None);
    assert_eq!(world.load_order(&second).await.status, OrderStatus::Completed);
}

#[tokio::test]
async fn the_saga_of_an_order_that_does_not_exist_comes_to_its_end() {
    let world = TestContext::new().await;
    let mut state = with_error(world.nonexistent_order().await, "InvalidInput");
    let failure = fail_order(&world.orders, &state).await.unwrap();
    assert_eq!(failure.event_id, None);
    state.failure = Some(failure);
    assert!(!world.notify(&state).await);
    assert_eq!(
        complete_order(&world.orders, &state).await.unwrap_err().name(),
        "InvalidInput"
    );
}

#[tokio::test]
async fn what_the_bus_does_not_take_stays_in_the_outbox() {
    let world = TestContext::new().await;
    let mut state = world.place_paid_order().await;
    state.completion = Some(complete_order(&world.orders, &state).await.unwrap());
    let announcer = world.publisher_without_event_bus();
    let failed = send_notification(&world.orders, &announcer, &state).await;
    assert_eq!(failed.unwrap_err().name(), "Unavailable");
    assert_eq!(world.pending_events().await, ["OrderCompleted"]);
}
