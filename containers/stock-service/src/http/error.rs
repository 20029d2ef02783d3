//! What cannot be done, as problem documents.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use web::{FieldError, Problem};

use crate::{
    engine::{StoreError, Unavailable, commands::InvalidCommand},
    model::{Refusal, Shortage},
};

/// Why a request is not granted.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No state of the stock could grant it.
    #[error("the request is not valid")]
    Invalid(#[from] InvalidCommand),
    /// The stock as it is does not.
    #[error("the request is refused")]
    Refused(#[from] Refusal),
    /// Nobody decided it.
    #[error("the request was not decided")]
    Unavailable(#[from] Unavailable),
    /// What it asks for could not be read.
    #[error("the stock could not be read")]
    Store(#[from] StoreError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(invalid) => Problem::invalid(&[field_error(&invalid)]),
            Self::Refused(refusal) => refused(refusal),
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

fn refused(refusal: Refusal) -> Problem {
    let conflict = |slug, title| Problem::new(StatusCode::CONFLICT, slug, title);
    let mismatch = |slug, title| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, slug, title);
    match refusal {
        Refusal::InsufficientStock(shortages) => conflict("insufficient-stock", "Not enough stock")
            .detail("`shortages` names each product of which there is less than was asked for.")
            .with("shortages", shortages.iter().map(shortage).collect::<Vec<_>>()),
        Refusal::ReservationReleased => conflict("reservation-released", "The reservation was released")
            .detail("Its pieces are back in stock. Reserve them again under another id."),
        Refusal::ReservationExpired => conflict("reservation-expired", "The reservation has expired")
            .detail("Its pieces are back in stock. Reserve them again under another id."),
        Refusal::ReservationMismatch => mismatch("reservation-mismatch", "The reservation has other items")
            .detail("This id was used before, with other items. Use an id for one reservation only."),
        Refusal::AdjustmentMismatch => mismatch("adjustment-mismatch", "The adjustment is another one")
            .detail("This id was used before, with other content. Use an id for one adjustment only."),
        Refusal::TooMuchStock => {
            mismatch("too-much-stock", "More stock than can be kept").detail(format!("{refusal}."))
        }
        Refusal::UnknownReservation | Refusal::UnknownProduct => Problem::not_found(),
    }
}

fn shortage(shortage: &Shortage) -> serde_json::Value {
    serde_json::json!({
        "product_id": shortage.product_id,
        "requested": shortage.requested,
        "available": shortage.available,
    })
}
