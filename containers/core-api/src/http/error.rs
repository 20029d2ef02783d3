//! Maps each error to the problem document that the client receives.

use std::error::Error as StdError;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::ProductId;
use dynamodb_table::DynamoDbError;
use http_server::{Bearer, FieldError, Problem};
use orders::{CancelError, PlaceError};
use secrets::SecretError;
use serde_json::json;
use users::{AddressError, PhoneCodeError, PhoneVerificationError, ProfileError, SetRoleError};

use super::{extractors::precondition_failed, responses::cart::CartResponse};
use crate::{
    accounts::DeleteAccountError,
    carts::{CartError, CheckoutError},
    catalog::ProductUpdateError,
    cursor::InvalidCursor,
    order_service::{MAX_TOTAL, MIN_TOTAL, OrderError, PaymentActionError},
    phone_codes::SendPhoneCodeError,
    receipts::ReceiptError,
};

/// Every error that a handler can return.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The handler itself rejected the request.
    #[error("the request was rejected")]
    Problem(Problem),
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// A query of the catalog or of the accounts failed.
    #[error("database query failed")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    ProductUpdate(#[from] ProductUpdateError),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    CancelOrder(#[from] CancelError),
    #[error(transparent)]
    PaymentAction(#[from] PaymentActionError),
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error(transparent)]
    DynamoDb(#[from] DynamoDbError),
    /// The keys of unsubscribe links cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Cart(#[from] CartError),
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    SendPhoneCode(#[from] SendPhoneCodeError),
    #[error(transparent)]
    VerifyPhone(#[from] PhoneVerificationError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Role(#[from] SetRoleError),
    #[error(transparent)]
    DeleteAccount(#[from] DeleteAccountError),
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
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
            ApiError::Problem(problem) => problem,
            ApiError::Cursor(_) => Self::new(StatusCode::BAD_REQUEST, "invalid-cursor", "Invalid cursor")
                .detail("Send `next_cursor` unchanged, to the list and with the filters that returned it."),
            ApiError::ProductUpdate(ProductUpdateError::VersionConflict)
            | ApiError::Profile(ProfileError::Conflict) => precondition_failed(),
            ApiError::Order(OrderError::UnknownProducts(lines)) => {
                let errors: Vec<FieldError> = lines
                    .iter()
                    .map(|(line, id)| FieldError {
                        pointer: format!("/items/{line}/product_id"),
                        detail: format!("there is no product {id}"),
                    })
                    .collect();
                Self::invalid_body(&errors)
            }
            ApiError::Order(OrderError::TotalChanged(total)) => total_changed()
                .detail("The current total is `total`. Nothing was ordered.")
                .extension(
                    "total",
                    json!({"amount": total.amount(), "currency": total.currency()}),
                ),
            ApiError::Order(OrderError::TooManyUnits(max)) => Self::new(
                StatusCode::CONFLICT,
                "too-many-units",
                "Too many units in one order",
            )
            .detail(format!(
                "An order of this account can have at most {max} units in total. A verified e-mail address \
                 permits the most."
            ))
            .extension("max_units", max),
            ApiError::Order(OrderError::EmailNotVerified) => Self::new(
                StatusCode::FORBIDDEN,
                "email-not-verified",
                "E-mail address not verified",
            )
            .detail("Open the link in the mail that confirmed the registration, then order again."),
            ApiError::Order(OrderError::Place(PlaceError::TooManyOpenOrders(max))) => Self::new(
                StatusCode::CONFLICT,
                "too-many-open-orders",
                "Too many open orders",
            )
            .detail(format!(
                "This account can have at most {max} open orders. Order again when one of them has ended. A \
                 verified e-mail address permits the most."
            ))
            .extension("max_open_orders", max)
            .header(header::RETRY_AFTER, HeaderValue::from_static("5")),
            ApiError::Order(OrderError::TotalOutOfRange) => Self::invalid_body(&[FieldError {
                pointer: "/items".to_owned(),
                detail: format!("an order costs at least {MIN_TOTAL} and at most {MAX_TOTAL} yen"),
            }]),
            ApiError::Order(OrderError::Place(PlaceError::KeyReused)) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "Idempotency-Key reused with a different request",
            )
            .detail("Use a new key for a new request. Reuse a key only to repeat the same request."),
            ApiError::Order(OrderError::Place(PlaceError::InProgress)) => Self::new(
                StatusCode::CONFLICT,
                "request-in-progress",
                "Request in progress",
            )
            .detail(
                "A request with this Idempotency-Key is still in progress. Repeat it in a moment to get its \
                 response.",
            )
            .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            ApiError::CancelOrder(CancelError::NotFound) => Self::not_found(),
            ApiError::CancelOrder(CancelError::TooLate(status)) => Self::new(
                StatusCode::CONFLICT,
                "too-late-to-cancel",
                "Order can no longer be cancelled",
            )
            .detail(format!("The order is {status}."))
            .extension("order_status", status.as_str()),
            ApiError::PaymentAction(PaymentActionError::NotFound) => Self::not_found(),
            ApiError::PaymentAction(PaymentActionError::NotAwaited) => {
                Self::new(StatusCode::CONFLICT, "no-payment-action", "No action is awaited")
                    .detail("The order does not wait for you to act. Read it to follow its status.")
            }
            ApiError::Receipt(ReceiptError::OrderNotFound) => Self::not_found(),
            ApiError::Receipt(ReceiptError::NotCompleted(status)) => Self::new(
                StatusCode::CONFLICT,
                "order-not-completed",
                "The order is not completed",
            )
            .detail(format!(
                "The order is {status}. Only completed orders have a receipt."
            ))
            .extension("order_status", status.as_str()),
            ApiError::Receipt(ReceiptError::NotWritten) => Self::new(
                StatusCode::CONFLICT,
                "receipt-not-ready",
                "The receipt is not ready",
            )
            .detail("The order has just completed. Repeat the request in some seconds.")
            .header(header::RETRY_AFTER, HeaderValue::from_static("2")),
            ApiError::Receipt(ReceiptError::Store(error)) => store_unavailable(&error),
            ApiError::Checkout(error) => checkout_problem(error),
            ApiError::Address(AddressError::TooMany) => {
                Self::new(StatusCode::CONFLICT, "too-many-addresses", "Too many addresses")
                    .detail("An account can have at most 20 addresses. Delete one first.")
            }
            ApiError::Role(SetRoleError::NotFound) => Self::not_found(),
            // Another administrator took the caller's role away during the request.
            ApiError::Role(SetRoleError::NotAdministrator) => Self::forbidden(),
            ApiError::Role(SetRoleError::OwnRole) => Self::new(
                StatusCode::FORBIDDEN,
                "own-role-change",
                "Cannot change your own role",
            )
            .detail("Ask another administrator to change it."),
            ApiError::Role(SetRoleError::NotAssignable) => Self::invalid_body(&[FieldError {
                pointer: "/role".to_owned(),
                detail: "expected customer, support or admin".to_owned(),
            }]),
            ApiError::DeleteAccount(DeleteAccountError::OrderOpen(order_id)) => Self::new(
                StatusCode::CONFLICT,
                "order-in-progress",
                "An order is still in progress",
            )
            .detail("Wait until the order has ended, or cancel it, and try again.")
            .extension("order_id", order_id.to_string()),
            ApiError::SendPhoneCode(SendPhoneCodeError::Code(PhoneCodeError::TooManyCodes)) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-phone-codes",
                "Too many codes requested",
            )
            .detail("Too many codes were requested for this account, for this number or in all. Try again later.")
            .header(header::RETRY_AFTER, HeaderValue::from_static("3600")),
            ApiError::VerifyPhone(PhoneVerificationError::InvalidCode { attempts_left }) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-phone-code",
                "Invalid code",
            )
            .detail(
                "The code is wrong, has expired or was tried too often. It can be tried `attempts_left` times; \
                 if that is 0, request a new one with PUT /v1/me/phone.",
            )
            .extension("attempts_left", attempts_left),
            ApiError::SendPhoneCode(error @ SendPhoneCodeError::Queue(_)) => store_unavailable(&error),
            // The account was deleted during the request.
            ApiError::Address(AddressError::AccountNotFound)
            | ApiError::SendPhoneCode(SendPhoneCodeError::Code(PhoneCodeError::AccountNotFound)) => {
                Bearer::unauthorized()
            }
            ApiError::Database(error)
            | ApiError::ProductUpdate(ProductUpdateError::Database(error))
            | ApiError::Profile(ProfileError::Database(error))
            | ApiError::SendPhoneCode(SendPhoneCodeError::Code(PhoneCodeError::Database(error)))
            | ApiError::VerifyPhone(PhoneVerificationError::Database(error))
            | ApiError::Address(AddressError::Database(error))
            | ApiError::Role(SetRoleError::Database(error))
            | ApiError::DeleteAccount(DeleteAccountError::Database(error))
            | ApiError::Order(OrderError::Catalog(error)) => database_problem(&error),
            ApiError::DynamoDb(error)
            | ApiError::Receipt(ReceiptError::Orders(error))
            | ApiError::CancelOrder(CancelError::Store(error))
            | ApiError::PaymentAction(PaymentActionError::Store(error))
            | ApiError::DeleteAccount(DeleteAccountError::OrderStore(error))
            | ApiError::Order(OrderError::Place(PlaceError::Store(error))) => dynamodb_problem(&error),
            ApiError::Secret(error) => store_unavailable(&error),
            ApiError::Cart(error) | ApiError::DeleteAccount(DeleteAccountError::Cart(error)) => {
                cart_problem(error)
            }
        }
    }
}

fn cart_problem(error: CartError) -> Problem {
    match error {
        CartError::Full(full) => {
            Problem::new(StatusCode::CONFLICT, "cart-full", "Cart is full").detail(format!("{full}."))
        }
        error @ CartError::Contended => store_unavailable(&error),
        CartError::DynamoDb(error) => dynamodb_problem(&error),
    }
}

fn dynamodb_problem(error: &DynamoDbError) -> Problem {
    match error {
        DynamoDbError::Unavailable(_) | DynamoDbError::Conflict => store_unavailable(error),
        DynamoDbError::ConditionsFailed(_) | DynamoDbError::InvalidItem(_) => Problem::internal(error),
    }
}

/// The problem for a failed checkout. The request body has no lines, so unavailable products and a total out
/// of range are a conflict with the cart and not an invalid body.
fn checkout_problem(error: CheckoutError) -> Problem {
    let conflict = |slug, title| Problem::new(StatusCode::CONFLICT, slug, title);
    match error {
        CheckoutError::Empty => conflict("cart-empty", "Cart is empty")
            .detail("Add items to the cart first. Checkout removes the items that were ordered."),
        CheckoutError::Withdrawn(products) => {
            conflict("products-unavailable", "Some products are no longer available")
                .detail("Remove the products that `product_ids` lists from the cart and try again.")
                .extension("product_ids", json!(products))
        }
        CheckoutError::InsufficientStock(cart) => {
            let products: Vec<ProductId> = cart.short_lines().map(|line| line.product_id).collect();
            conflict("insufficient-stock", "Some products are not in stock")
                .detail(
                    "The products that `product_ids` lists are not in stock in the requested quantity. Reduce \
                     or remove them; `cart` is the present cart.",
                )
                .extension("product_ids", json!(products))
                .extension("cart", json!(CartResponse::from(cart)))
        }
        CheckoutError::TotalChanged(cart) => total_changed()
            .detail("Nothing was ordered. `cart` is the present cart.")
            .extension("cart", json!(CartResponse::from(cart))),
        CheckoutError::Order(OrderError::TotalOutOfRange) => {
            conflict("total-out-of-range", "Order total out of range").detail(format!(
                "An order costs at least {MIN_TOTAL} and at most {MAX_TOTAL} yen."
            ))
        }
        CheckoutError::Order(error) => ApiError::Order(error).into(),
        CheckoutError::Cart(error) => cart_problem(error),
    }
}

/// 409: the prices have changed since the client read them.
fn total_changed() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "total-changed",
        "The total is not the expected one",
    )
}

/// 503 when PostgreSQL is unreachable or the connection pool is exhausted, 500 for every other database
/// error.
pub fn database_problem(error: &sqlx::Error) -> Problem {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => store_unavailable(error),
        error => Problem::internal(error),
    }
}

/// 503: a store is temporarily unreachable, so a retry may succeed.
fn store_unavailable(error: &(dyn StdError + 'static)) -> Problem {
    tracing::error!(error, "store unavailable");
    Problem::unavailable()
}
