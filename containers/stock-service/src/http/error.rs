//! API errors as problem documents (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_server::{FieldError, Problem};

use crate::{
    engine::{StoreError, SubmitError, commands::InvalidCommand},
    model::{Shortage, StockError},
};

/// Error response of the API.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request is invalid whatever the state of the stock.
    #[error("invalid request")]
    Invalid(#[from] InvalidCommand),
    /// The current state of the stock does not permit the request.
    #[error("request rejected")]
    Rejected(#[from] StockError),
    /// The engine did not process the request.
    #[error("request not processed")]
    Unavailable(#[from] SubmitError),
    #[error("stock could not be read")]
    Store(#[from] StoreError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(command_error) => Problem::invalid_body(&[field_error(&command_error)]),
            Self::Rejected(error) => rejection_problem(error),
            // The engine has logged the cause.
            Self::Unavailable(_) => Problem::unavailable(),
            Self::Store(error @ StoreError::UnknownStatus { .. }) => Problem::internal(&error),
            Self::Store(error) => Problem::dependency_unavailable(&error),
        }
        .into_response()
    }
}

fn field_error(command_error: &InvalidCommand) -> FieldError {
    let pointer = match command_error {
        InvalidCommand::Lines => "/items",
        InvalidCommand::Expiry => "/expires_in_seconds",
        InvalidCommand::Delta => "/delta",
        InvalidCommand::Reason => "/reason",
    };
    FieldError {
        pointer: pointer.to_owned(),
        detail: command_error.to_string(),
    }
}

fn rejection_problem(error: StockError) -> Problem {
    let conflict = |slug, title| Problem::new(StatusCode::CONFLICT, slug, title);
    let mismatch = |slug, title| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, slug, title);
    match error {
        StockError::InsufficientStock(shortages) => conflict("insufficient-stock", "Not enough stock")
            .detail("`shortages` lists each product whose available stock is below the requested quantity.")
            .extension("shortages", shortages.iter().map(shortage).collect::<Vec<_>>()),
        StockError::StockHeld(shortages) => conflict("stock-held", "Open reservations hold the stock")
            .detail(
                "Open reservations hold units of each product that `shortages` lists. Repeat the request: it \
                 succeeds when enough of them were released.",
            )
            .extension("shortages", shortages.iter().map(shortage).collect::<Vec<_>>())
            .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
        StockError::ReservationReleased => conflict("reservation-released", "Reservation released")
            .detail("Its units are available again. Reserve them again with a new id."),
        StockError::ReservationExpired => conflict("reservation-expired", "Reservation expired")
            .detail("Its units are available again. Reserve them again with a new id."),
        StockError::ReservationMismatch => mismatch(
            "reservation-mismatch",
            "Reservation id reused with different items",
        )
        .detail("This id was used before with different items. Use one id per reservation."),
        StockError::AdjustmentMismatch => mismatch(
            "adjustment-mismatch",
            "Adjustment id reused with different content",
        )
        .detail("This id was used before with different content. Use one id per adjustment."),
        StockError::StockLimitExceeded => {
            mismatch("stock-limit-exceeded", "Stock limit exceeded").detail(format!("{error}."))
        }
        StockError::UnknownReservation | StockError::UnknownProduct => Problem::not_found(),
    }
}

fn shortage(shortage: &Shortage) -> serde_json::Value {
    serde_json::json!({
        "product_id": shortage.product_id,
        "requested": shortage.requested,
        "available": shortage.available,
    })
}
