//! `update-stock`: sells the goods that are held.
//!
//! Again: a committed reservation stays committed. When its answer is lost, the release of the compensation
//! gives the goods back.

use lambda_shared::{FunctionContext, Handler, InitError};

use crate::{Reservation, SagaState, StepError, StockClient, state::step_handler};

/// Makes the function.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let stock = StockClient::from_context(&init).await?;
    Ok(step_handler(move |state| {
        let stock = stock.clone();
        async move { update_stock(&stock, &state).await }
    }))
}

/// Does the step. Fails with `ReservationExpired` or `ReservationReleased` when the goods are not held any more.
pub async fn update_stock(stock: &StockClient, state: &SagaState) -> Result<Reservation, StepError> {
    stock.commit(state).await
}
