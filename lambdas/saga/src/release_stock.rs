//! `release-stock`: puts the order's goods back on sale, held or sold.
//!
//! Again: a released reservation stays released. It is safe when nothing was ever reserved, and then refuses
//! a reservation that comes late.
//!
//! The order is closed before the goods go back. Otherwise a second execution of the same order, failing where
//! the first one succeeded, would put goods back that are sold. An order that cannot be found cannot be closed:
//! its goods were never sold, and what is held falls back by itself.

use lambda_shared::{FunctionContext, Handler, InitError};
use orders::{CloseError, Orders};
use serde::Serialize;

use crate::{SagaState, StepError, StockClient, bootstrap, state::step_handler};

/// What became of the goods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseOutcome {
    /// `released`; `expired` when they had gone back by themselves; `kept` when the order is completed;
    /// `left_to_expire` when there is no such order.
    pub status: String,
}

/// Makes the function.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let (orders, stock) = tokio::try_join!(bootstrap::order_store(&init), StockClient::from_context(&init))?;
    Ok(step_handler(move |state| {
        let (orders, stock) = (orders.clone(), stock.clone());
        async move { release_stock(&orders, &stock, &state).await }
    }))
}

/// Does the step.
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
