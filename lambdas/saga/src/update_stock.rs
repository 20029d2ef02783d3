//! `update-stock`: commits the stock reservation of a paid order.
//!
//! Idempotency: a committed reservation stays committed. If the response is lost and the saga compensates,
//! the release also returns committed stock.

use lambda_shared::{FunctionContext, Handler, InitError};

use crate::{Reservation, SagaState, StepError, StockClient, state::step_handler};

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let stock = StockClient::from_context(&context).await?;
    Ok(step_handler(move |state| {
        let stock = stock.clone();
        async move { update_stock(&stock, &state).await }
    }))
}

/// Fails with `ReservationExpired` or `ReservationReleased` when the stock is no longer reserved.
pub async fn update_stock(stock: &StockClient, state: &SagaState) -> Result<Reservation, StepError> {
    stock.commit(state).await
}
