//! `complete-order`: marks the order completed, and leaves `OrderCompleted` in the outbox with it.
//!
//! Again: a completed order stays completed, and the answer names the event of the first time.

use lambda_shared::{Handler, Init, InitError};
use orders::Orders;

use crate::{Ending, State, StepError, start, state::step};

/// Makes the function.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let orders = start::orders(&init).await?;
    Ok(step(move |state| {
        let orders = orders.clone();
        async move { complete_order(&orders, &state).await }
    }))
}

/// Does the step. Fails with `OrderClosed` when a compensation came first.
pub async fn complete_order(orders: &Orders, state: &State) -> Result<Ending, StepError> {
    let event_id = orders
        .complete(state.user_id, state.order_id, state.total()?, &state.as_cause())
        .await?;
    Ok(Ending {
        event_id: Some(event_id),
    })
}
