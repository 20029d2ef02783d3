//! complete-order, fail-order and send-notification: an order ends once, and one event tells of it.

use domain::{FailureReason, OrderStatus};
use lambda_shared::FunctionError;
use saga::{
    Caught, State, complete_order::complete_order, fail_order::fail_order, process_payment::process_payment,
    refund_payment::refund_payment, send_notification::send_notification,
};

use crate::world::World;

impl World {
    async fn paid(&self) -> State {
        let state = self.place("pm_card_visa").await;
        process_payment(&self.orders, &self.stripe, &self.announcer, &state)
            .await
            .unwrap();
        state
    }

    async fn announce(&self, state: &State) -> bool {
        send_notification(&self.orders, &self.announcer, state)
            .await
            .unwrap()
            .published
            .is_some()
    }
}

/// The state after a step failed with `error`.
fn turned_back(state: State, error: &str) -> State {
    State {
        error: Some(Caught {
            error: error.to_owned(),
        }),
        ..state
    }
}

#[tokio::test]
async fn a_paid_order_is_completed_once_and_announced_once() {
    let world = World::new().await;
    let mut state = world.paid().await;
    let completion = complete_order(&world.orders, &state).await.unwrap();
    assert_eq!(complete_order(&world.orders, &state).await.unwrap(), completion);
    assert_eq!(world.order(&state).await.status, OrderStatus::Completed);
    assert_eq!(world.waiting().await, ["OrderCompleted"]);

    state.completion = Some(completion);
    assert!(world.announce(&state).await);
    assert!(!world.announce(&state).await);
    assert_eq!(world.waiting().await, [""; 0]);
}

#[tokio::test]
async fn an_order_that_is_being_compensated_cannot_be_completed() {
    let world = World::new().await;
    let state = world.paid().await;
    world.close(&state).await;
    assert_eq!(
        complete_order(&world.orders, &state).await.unwrap_err().name(),
        "OrderClosed"
    );
    assert_eq!(world.waiting().await, [""; 0]);
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_stands_and_is_announced() {
    let world = World::new().await;
    let state = world.paid().await;
    complete_order(&world.orders, &state).await.unwrap();

    let compensated = turned_back(state, "Lambda.Unknown");
    let refused = refund_payment(&world.orders, &world.stripe, &world.announcer, &compensated).await;
    assert_eq!(refused.unwrap_err().name(), "OrderAlreadyCompleted");
    assert_eq!(world.books(), (1_500, 0));
    assert!(
        world.announce(&compensated).await,
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
        let world = World::new().await;
        let mut state = turned_back(world.place("pm_card_visa").await, error);
        let failure = fail_order(&world.orders, &state).await.unwrap();
        assert_eq!(fail_order(&world.orders, &state).await.unwrap(), failure);
        let order = world.order(&state).await;
        assert_eq!(
            (order.status, order.reason),
            (OrderStatus::Failed, Some(reason)),
            "{error}"
        );
        assert_eq!(world.waiting().await, ["OrderFailed"]);

        state.failure = Some(failure);
        assert!(world.announce(&state).await);
        assert!(!world.announce(&state).await);
    }
}

#[tokio::test]
async fn a_cancelled_order_stays_so_and_there_is_nothing_more_to_tell() {
    let world = World::new().await;
    let mut state = world.place("pm_card_visa").await;
    world.cancel(&state).await;
    state = turned_back(state, "OrderCancelled");
    let failure = fail_order(&world.orders, &state).await.unwrap();
    assert_eq!(failure.event_id, None);
    state.failure = Some(failure);
    assert!(!world.announce(&state).await);
    assert_eq!(world.order(&state).await.status, OrderStatus::Cancelled);
}

#[tokio::test]
async fn a_completed_order_is_not_failed_by_a_second_execution() {
    let world = World::new().await;
    let state = world.paid().await;
    complete_order(&world.orders, &state).await.unwrap();
    let second = turned_back(state, "Unavailable");
    assert_eq!(fail_order(&world.orders, &second).await.unwrap().event_id, None);
    assert_eq!(world.order(&second).await.status, OrderStatus::Completed);
}

#[tokio::test]
async fn the_saga_of_an_order_that_does_not_exist_comes_to_its_end() {
    let world = World::new().await;
    let mut state = turned_back(world.made_up().await, "InvalidInput");
    let failure = fail_order(&world.orders, &state).await.unwrap();
    assert_eq!(failure.event_id, None);
    state.failure = Some(failure);
    assert!(!world.announce(&state).await);
    assert_eq!(
        complete_order(&world.orders, &state).await.unwrap_err().name(),
        "InvalidInput"
    );
}

#[tokio::test]
async fn what_the_bus_does_not_take_stays_in_the_outbox() {
    let world = World::new().await;
    let mut state = world.paid().await;
    state.completion = Some(complete_order(&world.orders, &state).await.unwrap());
    let announcer = world.announcer_without_bus();
    let failed = send_notification(&world.orders, &announcer, &state).await;
    assert_eq!(failed.unwrap_err().name(), "Unavailable");
    assert_eq!(world.waiting().await, ["OrderCompleted"]);
}
