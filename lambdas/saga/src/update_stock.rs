//! `update-stock`: sells the goods that are held.
//!
//! Again: a committed reservation stays committed. When its answer is lost, the release of the compensation
//! gives the goods back.

use lambda_shared::{Handler, Init, InitError};

use crate::{Reservation, State, StepError, StockService, state::step};

/// Makes the function.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let stock = StockService::start(&init).await?;
    Ok(step(move |state| {
        let stock = stock.clone();
        async move { update_stock(&stock, &state).await }
    }))
}

/// Does the step. Fails with `ReservationExpired` or `ReservationReleased` when the goods are not held any more.
pub async fn update_stock(stock: &StockService, state: &State) -> Result<Reservation, StepError> {
    stock.commit(state).await
}
