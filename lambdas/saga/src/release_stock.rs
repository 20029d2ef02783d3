//! `release-stock`: releases the order's stock reservation and returns committed stock. A compensation step.
//!
//! Idempotency: a released reservation stays released. A release without a reservation is safe: stock-service
//! then rejects a delayed reservation with this id.
//!
//! The step closes the order to payment before it releases the stock. Otherwise a second execution for the
//! same order, failing where the first one succeeded, would put sold stock back on sale. An order that does
//! not exist cannot be closed; its stock was never committed, and its reservation expires.

use lambda_shared::{FunctionContext, Handler, InitError};
use orders::{CloseError, Orders};
use serde::Serialize;

use crate::{SagaState, StepError, StockClient, bootstrap, state::step_handler};

/// The result of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseOutcome {
    /// `released`; `expired` when the reservation had expired; `kept` when the order is completed;
    /// `left_to_expire` when the order does not exist.
    pub status: String,
}

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let (orders, stock) = tokio::try_join!(bootstrap::orders(&context), StockClient::from_context(&context))?;
    Ok(step_handler(move |state| {
        let (orders, stock) = (orders.clone(), stock.clone());
        async move { release_stock(&orders, &stock, &state).await }
    }))
}

/// Closes the order to payment, then releases its stock.
pub async fn release_stock(
    orders: &Orders,
    stock: &StockClient,
    state: &SagaState,
) -> Result<ReleaseOutcome, StepError> {
    let status = match orders.close_to_payment(state.user_id, state.order_id).await {
        Ok(_) => stock.release(state).await?.status,
        Err(CloseError::Completed) => "kept".to_owned(),
        Err(CloseError::NotFound) => "left_to_expire".to_owned(),
        Err(CloseError::Store(error)) => return Err(error.into()),
    };
    Ok(ReleaseOutcome { status })
}
