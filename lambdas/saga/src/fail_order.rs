//! `fail-order`: marks the order failed, and leaves `OrderFailed` in the outbox with it. The last compensation.
//!
//! Again: a failed order stays failed for its first reason, and the answer names the event of the first time.
//! A cancelled order stays cancelled and a completed one completed; there is nothing to tell of them then.
//! An order whose money was taken and not given back does not fail: whatever led here, a person has to look.

use domain::FailureReason;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::{FailError, Orders};

use crate::{OrderOutcome, SagaState, StepError, bootstrap, state::step_handler};

/// Makes the function.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let orders = bootstrap::order_store(&init).await?;
    Ok(step_handler(move |state| {
        let orders = orders.clone();
        async move { fail_order(&orders, &state).await }
    }))
}

/// Does the step.
pub async fn fail_order(orders: &Orders, state: &SagaState) -> Result<OrderOutcome, StepError> {
    let event_id = match orders
        .fail(
            state.user_id,
            state.order_id,
            failure_reason(state),
            &state.event_context(),
        )
        .await
    {
        Ok(event_id) => event_id,
        Err(FailError::Completed) => None,
        Err(FailError::NotFound) => {
            // Removed long ago, or never placed: the event that started the saga was replayed or made up.
            tracing::error!(order_id = %state.order_id, "a saga ran for an order that does not exist");
            None
        }
        Err(error @ FailError::Charged) => return Err(StepError::invalid_input(error)),
        Err(FailError::Store(error)) => return Err(error.into()),
    };
    Ok(OrderOutcome { event_id })
}

/// Why the order failed, as its customer may know it: what the saga turned back for.
fn failure_reason(state: &SagaState) -> FailureReason {
    match state.error.as_ref().map(|caught| caught.name.as_str()) {
        Some("InsufficientStock") => FailureReason::InsufficientStock,
        Some("PaymentDeclined") => FailureReason::PaymentDeclined,
        _ => FailureReason::InternalError,
    }
}
