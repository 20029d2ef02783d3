//! `fail-order`: marks the order failed and writes `OrderFailed` to the outbox in the same transaction. The
//! last compensation step. If the customer has cancelled the order while its payment waited for them, the
//! step marks it cancelled instead, and writes `OrderCancelled`.
//!
//! Idempotency: a failed order keeps its first failure reason, and the step returns the id of the first run's
//! event. An order that was cancelled before its claim stays cancelled and a completed order stays completed;
//! the step then returns no event.
//!
//! The step does not fail an order whose payment was captured and not refunded: it returns `InvalidInput`,
//! and the state machine parks the order for an operator.

use domain::FailureReason;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::{FailError, OrdersWithOutbox};

use crate::{OrderOutcome, SagaState, StepError, bootstrap, state::step_handler};

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let orders = bootstrap::orders_with_outbox(&context).await?;
    Ok(step_handler(move |state| {
        let orders = orders.clone();
        async move { fail_order(&orders, &state).await }
    }))
}

/// Fails with `InvalidInput` when the order's payment was captured and not refunded.
pub async fn fail_order(orders: &OrdersWithOutbox, state: &SagaState) -> Result<OrderOutcome, StepError> {
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
            // The order expired long ago, or the event that started the saga was replayed or forged.
            tracing::error!(order_id = %state.order_id, "the saga's order does not exist");
            None
        }
        Err(error @ FailError::Charged) => return Err(StepError::invalid_input(error)),
        Err(FailError::Store(error)) => return Err(error.into()),
    };
    Ok(OrderOutcome { event_id })
}

/// The failure reason shown to the customer, from the error that started the compensation.
fn failure_reason(state: &SagaState) -> FailureReason {
    match state.error.as_ref().map(|error| error.name.as_str()) {
        Some("InsufficientStock" | "StockHeld") => FailureReason::InsufficientStock,
        Some("PaymentDeclined") => FailureReason::PaymentDeclined,
        Some("PaymentActionExpired") => FailureReason::AuthenticationTimeout,
        _ => FailureReason::InternalError,
    }
}
