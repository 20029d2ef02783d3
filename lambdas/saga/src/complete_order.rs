//! `complete-order`: marks the order completed and writes `OrderCompleted` to the outbox in the same
//! transaction. It asks `status-push` to send the completion itself: the event takes two more invocations to
//! get there, and customers wait for this change. The event sends it again.
//!
//! Idempotency: a completed order stays completed, and the step returns the id of the first run's event.

use lambda_shared::{FunctionContext, Handler, InitError};
use orders::OrdersWithOutbox;

use crate::{OrderOutcome, SagaState, StatusPush, StepError, bootstrap, state::step_handler};

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let orders = bootstrap::orders_with_outbox(&context).await?;
    let status_push = bootstrap::status_push(&context)?;
    Ok(step_handler(move |state| {
        let (orders, status_push) = (orders.clone(), status_push.clone());
        async move { complete_order(&orders, &status_push, &state).await }
    }))
}

/// Fails with `OrderClosed` when the compensation has closed the order.
pub async fn complete_order(
    orders: &OrdersWithOutbox,
    status_push: &StatusPush,
    state: &SagaState,
) -> Result<OrderOutcome, StepError> {
    let event_id = orders
        .complete(
            state.user_id,
            state.order_id,
            state.total()?,
            &state.event_context(),
        )
        .await?;
    status_push.request(state).await;
    Ok(OrderOutcome {
        event_id: Some(event_id),
    })
}
