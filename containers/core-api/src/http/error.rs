//! What each error is to the client.

use std::error::Error as StdError;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use orders::{CancelError, PlaceError, StoreError};
use users::{AddressError, ProfileError, RoleError};
use web::{Bearer, FieldError, Problem};

use super::extract::outdated;
use crate::{
    carts::{CartError, CheckOutError},
    catalogue::ChangeError,
    cursor::InvalidCursor,
    ordering::{MAX_TOTAL, MIN_TOTAL, OrderError},
    people::LeaveError,
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
    /// The catalogue or the accounts could not be read.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
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
    /// See [`CartError`].
    #[error(transparent)]
    Cart(#[from] CartError),
    /// See [`CheckOutError`].
    #[error(transparent)]
    CheckOut(#[from] CheckOutError),
    /// See [`ProfileError`].
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// See [`AddressError`].
    #[error(transparent)]
    Address(#[from] AddressError),
    /// See [`RoleError`].
    #[error(transparent)]
    Role(#[from] RoleError),
    /// See [`LeaveError`].
    #[error(transparent)]
    Leave(#[from] LeaveError),
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
            ApiError::Change(ChangeError::Outdated) | ApiError::Profile(ProfileError::Outdated) => outdated(),
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
            ApiError::CheckOut(error) => check_out(error),
            ApiError::Address(AddressError::TooMany) => Self::new(
                StatusCode::CONFLICT,
                "too-many-addresses",
                "There is no room for another address",
            )
            .detail("An account has at most 20 addresses. Remove one first."),
            ApiError::Role(RoleError::NotFound) => Self::not_found(),
            // It was taken from the one who asks while they asked.
            ApiError::Role(RoleError::NotAllowed) => Self::forbidden(),
            ApiError::Role(RoleError::Own) => {
                Self::new(StatusCode::FORBIDDEN, "own-role", "Nobody changes their own role")
                    .detail("Another administrator has to do it.")
            }
            ApiError::Role(RoleError::NoPersons) => Self::invalid(&[FieldError {
                pointer: "/role".to_owned(),
                detail: "expected customer, support or admin".to_owned(),
            }]),
            ApiError::Leave(LeaveError::Open(order_id)) => Self::new(
                StatusCode::CONFLICT,
                "order-open",
                "An order has not come to its end",
            )
            .detail("Wait for the order to end, or cancel it, and try again.")
            .with("order_id", order_id.to_string()),
            // The account went while its owner asked for something of it.
            ApiError::Address(AddressError::NoAccount) => Bearer::refused(),
            ApiError::Database(error)
            | ApiError::Change(ChangeError::Database(error))
            | ApiError::Profile(ProfileError::Database(error))
            | ApiError::Address(AddressError::Database(error))
            | ApiError::Role(RoleError::Database(error))
            | ApiError::Leave(LeaveError::Accounts(error))
            | ApiError::Order(OrderError::Catalogue(error)) => database(&error),
            ApiError::Orders(error)
            | ApiError::Cancel(CancelError::Store(error))
            | ApiError::Leave(LeaveError::Orders(error))
            | ApiError::Order(OrderError::Place(PlaceError::Store(error))) => match error {
                StoreError::Unavailable(_) => down(&error),
                error => Self::internal(&error),
            },
            ApiError::Cart(error) | ApiError::Leave(LeaveError::Cart(error)) => cart(error),
        }
    }
}

/// What is wrong with a cart.
fn cart(error: CartError) -> Problem {
    match error {
        CartError::Full(full) => {
            Problem::new(StatusCode::CONFLICT, "cart-full", "There is no room in the cart")
                .detail(format!("{full}."))
        }
        error @ (CartError::Busy | CartError::Unavailable(_)) => down(&error),
        error @ CartError::Unreadable(_) => Problem::internal(&error),
    }
}

/// Why a cart did not become an order. The client has sent no lines, so what is wrong with them is no invalid body.
fn check_out(error: CheckOutError) -> Problem {
    let conflict = |slug, title| Problem::new(StatusCode::CONFLICT, slug, title);
    match error {
        CheckOutError::Empty => conflict("cart-empty", "The cart is empty")
            .detail("Put something into it first. What was ordered has left it."),
        CheckOutError::InProgress => conflict("checkout-in-progress", "The cart is being ordered")
            .detail("Another request orders it at this moment. Look at the cart again when that has ended.")
            .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
        CheckOutError::Order(OrderError::UnknownProducts(lines)) => {
            let gone: Vec<String> = lines.iter().map(|(_, id)| id.to_string()).collect();
            conflict("products-withdrawn", "Something in the cart is sold no more")
                .detail("Take what `product_ids` names out of the cart and try again.")
                .with("product_ids", gone)
        }
        CheckOutError::Order(OrderError::Total) => {
            conflict("total-out-of-range", "The cart's total cannot be paid").detail(format!(
                "An order costs at least {MIN_TOTAL} and at most {MAX_TOTAL} yen."
            ))
        }
        CheckOutError::Order(error) => ApiError::Order(error).into(),
        CheckOutError::Cart(error) => cart(error),
    }
}

/// What a failure of the database is to the client.
pub fn database(error: &sqlx::Error) -> Problem {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => down(error),
        error => Problem::internal(error),
    }
}

/// 503: a store is out of reach, which another attempt may find mended.
fn down(error: &(dyn StdError + 'static)) -> Problem {
    tracing::error!(error, "a store cannot be reached");
    Problem::unavailable()
}
