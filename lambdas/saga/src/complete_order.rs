//! `complete-order`: marks the order completed, and leaves `OrderCompleted` in the outbox with it.
//!
//! Again: a completed order stays completed, and the answer names the event of the first time.

use lambda_shared::{FunctionContext, Handler, InitError};
use orders::Orders;

use crate::{OrderOutcome, SagaState, StepError, bootstrap, state::step_handler};

/// Makes the function.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let orders = bootstrap::order_store(&init).await?;
    Ok(step_handler(move |state| {
        let orders = orders.clone();
        async move { complete_order(&orders, &state).await }
    }))
}

/// Does the step. Fails with `OrderClosed` when a compensation came first.
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
