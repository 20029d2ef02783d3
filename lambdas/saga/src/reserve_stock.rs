//! `reserve-stock`: reserves the stock of all order lines, or of none. The reservation's id is the order's
//! id.
//!
//! Idempotency: stock-service returns the same response for the same id, also for a rejection, except while
//! other reservations hold the stock. After a release, which can overtake a delayed reservation,
//! stock-service rejects the id permanently.

use lambda_shared::{FunctionContext, Handler, InitError};

use crate::{Reservation, SagaState, StepError, StockClient, state::step_handler};

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let stock = StockClient::from_context(&context).await?;
    Ok(step_handler(move |state| {
        let stock = stock.clone();
        async move { reserve_stock(&stock, &state).await }
    }))
}

/// Fails with `InsufficientStock` when a product's stock is too low, with `StockHeld` when it would suffice
/// without the open reservations, and with `ReservationReleased` or `ReservationExpired` when the
/// compensation has already started.
pub async fn reserve_stock(stock: &StockClient, state: &SagaState) -> Result<Reservation, StepError> {
    stock.reserve(state).await
}
