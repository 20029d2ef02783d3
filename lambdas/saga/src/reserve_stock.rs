//! `reserve-stock`: takes the order's goods off sale, all or none, under a reservation with the order's id.
//!
//! Again: stock-service gives the same answer to the same id, also when it was a refusal. After a release,
//! which may overtake a reservation that was given up, the id is refused for good.

use lambda_shared::{FunctionContext, Handler, InitError};

use crate::{Reservation, SagaState, StepError, StockClient, state::step_handler};

/// Makes the function.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let stock = StockClient::from_context(&init).await?;
    Ok(step_handler(move |state| {
        let stock = stock.clone();
        async move { reserve_stock(&stock, &state).await }
    }))
}

/// Does the step. Fails with `InsufficientStock` when products are short, with `ReservationReleased` or
/// `ReservationExpired` when the saga has turned back before.
pub async fn reserve_stock(stock: &StockClient, state: &SagaState) -> Result<Reservation, StepError> {
    stock.reserve(state).await
}
