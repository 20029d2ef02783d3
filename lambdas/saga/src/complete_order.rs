//! `complete-order`: marks the order completed and writes `OrderCompleted` to the outbox in the same
//! transaction.
//!
//! Idempotency: a completed order stays completed, and the step returns the id of the first run's event.

use lambda_shared::{FunctionContext, Handler, InitError};
use orders::Orders;

use crate::{OrderOutcome, SagaState, StepError, bootstrap, state::step_handler};

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let orders = bootstrap::order_store(&context).await?;
    Ok(step_handler(move |state| {
        let orders = orders.clone();
        async move { complete_order(&orders, &state).await }
    }))
}

/// Fails with `OrderClosed` when the compensation has closed the order.
pub async fn complete_order(orders: &Orders, state: &SagaState) -> Result<OrderOutcome, StepError> {
    let event_id = orders
        .complete(
            state.user_id,
            state.order_id,
            state.total()?,
            &state.event_context(),
        )
        .await?;
    Ok(OrderOutcome {
        event_id: Some(event_id),
    })
}
