//! What each error is to the client.

use std::error::Error as StdError;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use orders::{CancelError, PlaceError, StoreError};
use web::{FieldError, Problem};

use super::extract::outdated;
use crate::{
    catalogue::ChangeError,
    cursor::InvalidCursor,
    ordering::{MAX_TOTAL, MIN_TOTAL, OrderError},
};

/// Why a request was not answered as its client hoped.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request itself is at fault.
    #[error("the request is refused")]
    Refused(Problem),
    /// See [`InvalidCursor`].
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The catalogue could not be read.
    #[error("the catalogue's database failed")]
    Catalogue(#[from] sqlx::Error),
    /// See [`ChangeError`].
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// See [`OrderError`].
    #[error(transparent)]
    Order(#[from] OrderError),
    /// See [`CancelError`].
    #[error(transparent)]
    Cancel(#[from] CancelError),
    /// See [`StoreError`].
    #[error(transparent)]
    Orders(#[from] StoreError),
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused(problem) => problem,
            ApiError::Cursor(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "invalid-cursor",
                "The cursor is not valid here",
            )
            .detail("Send a next_cursor as it was, to the list and with the filters it came from."),
            ApiError::Change(ChangeError::Outdated) => outdated(),
            ApiError::Order(OrderError::UnknownProducts(lines)) => {
                let errors: Vec<FieldError> = lines
                    .iter()
                    .map(|(line, id)| FieldError {
                        pointer: format!("/items/{line}/product_id"),
                        detail: format!("there is no product {id}"),
                    })
                    .collect();
                Self::invalid(&errors)
            }
            ApiError::Order(OrderError::Total) => Self::invalid(&[FieldError {
                pointer: "/items".to_owned(),
                detail: format!("an order costs at least {MIN_TOTAL} and at most {MAX_TOTAL} yen"),
            }]),
            ApiError::Order(OrderError::Place(PlaceError::KeyReused)) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key belongs to another request",
            )
            .detail("Send a new key with a new request, and the same key only with the same request."),
            ApiError::Order(OrderError::Place(PlaceError::InProgress)) => Self::new(
                StatusCode::CONFLICT,
                "request-in-progress",
                "A request with this Idempotency-Key is in progress",
            )
            .detail("Send it again in a moment to get its answer.")
            .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            ApiError::Cancel(CancelError::NotFound) => Self::not_found(),
            ApiError::Cancel(CancelError::TooLate(status)) => Self::new(
                StatusCode::CONFLICT,
                "too-late-to-cancel",
                "The order can no longer be cancelled",
            )
            .detail(format!("It is {status}."))
            .with("order_status", status.as_str()),
            ApiError::Catalogue(error)
            | ApiError::Change(ChangeError::Database(error))
            | ApiError::Order(OrderError::Catalogue(error)) => match error {
                sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => down(&error),
                error => Self::internal(&error),
            },
            ApiError::Orders(error)
            | ApiError::Cancel(CancelError::Store(error))
            | ApiError::Order(OrderError::Place(PlaceError::Store(error))) => match error {
                StoreError::Unavailable(_) => down(&error),
                error => Self::internal(&error),
            },
        }
    }
}

/// 503: a store is out of reach, which another attempt may find mended.
fn down(error: &(dyn StdError + 'static)) -> Problem {
    tracing::error!(error, "a store cannot be reached");
    Problem::unavailable()
}
