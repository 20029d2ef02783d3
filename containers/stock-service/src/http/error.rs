//! What cannot be done, as problem documents.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use http_server::{FieldError, Problem};

use crate::{
    engine::{StoreError, SubmitError, commands::InvalidCommand},
    model::{Shortage, StockError},
};

/// Why a request is not granted.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No state of the stock could grant it.
    #[error("the request is not valid")]
    Invalid(#[from] InvalidCommand),
    /// The stock as it is does not.
    #[error("the request is refused")]
    Rejected(#[from] StockError),
    /// Nobody decided it.
    #[error("the request was not decided")]
    Unavailable(#[from] SubmitError),
    /// What it asks for could not be read.
    #[error("the stock could not be read")]
    Store(#[from] StoreError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(invalid) => Problem::invalid_body(&[field_error(&invalid)]),
            Self::Rejected(refusal) => rejection_problem(refusal),
            // The engine has logged why.
            Self::Unavailable(_) => Problem::unavailable(),
            Self::Store(error @ StoreError::UnknownStatus { .. }) => Problem::internal(&error),
            Self::Store(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the stock could not be read"
                );
                Problem::unavailable()
            }
        }
        .into_response()
    }
}

fn field_error(invalid: &InvalidCommand) -> FieldError {
    let pointer = match invalid {
        InvalidCommand::Lines => "/items",
        InvalidCommand::Expiry => "/expires_in_seconds",
        InvalidCommand::Delta => "/delta",
        InvalidCommand::Reason => "/reason",
    };
    FieldError {
        pointer: pointer.to_owned(),
        detail: invalid.to_string(),
    }
}

fn rejection_problem(refusal: StockError) -> Problem {
    let conflict = |slug, title| Problem::new(StatusCode::CONFLICT, slug, title);
    let mismatch = |slug, title| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, slug, title);
    match refusal {
        StockError::InsufficientStock(shortages) => conflict("insufficient-stock", "Not enough stock")
            .detail("`shortages` lists each product whose available stock is below the requested quantity.")
            .extension("shortages", shortages.iter().map(shortage).collect::<Vec<_>>()),
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
            mismatch("stock-limit-exceeded", "Stock limit exceeded").detail(format!("{refusal}."))
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
