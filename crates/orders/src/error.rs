//! Errors of the order store.

use domain::OrderStatus;
use dynamodb_table::DynamoDbError;

/// The order was not placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The customer used this idempotency key for a different order.
    #[error("the idempotency key was used for a different order")]
    KeyReused,
    /// A concurrent request is writing the same key.
    #[error("a request with the same idempotency key is in progress")]
    InProgress,
    /// The customer has as many open orders as allowed.
    #[error("the customer has {0} open orders")]
    TooManyOpenOrders(u32),
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}

/// The order was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("the order does not exist")]
    NotFound,
    /// The order's payment was claimed and does not wait for the customer, or the order has ended.
    #[error("an order with status {0} cannot be cancelled")]
    TooLate(OrderStatus),
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}

/// The order cannot be paid.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("the order does not exist")]
    NotFound,
    /// The customer cancelled the order.
    #[error("the order is cancelled")]
    Cancelled,
    /// The order has ended, or compensation has closed it to payment.
    #[error("the order is closed to payment")]
    Closed,
    /// The customer has not completed the payment's action in time.
    #[error("the time to complete the payment's action has passed")]
    ActionExpired,
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}

/// The order was not closed to payment.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    #[error("the order does not exist")]
    NotFound,
    /// The order is completed: there is nothing to compensate.
    #[error("the order is completed")]
    Completed,
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}

/// The order was not completed.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    #[error("the order does not exist")]
    NotFound,
    /// The order is not being processed, its payment is not captured, or compensation has closed it.
    #[error("an order with status {0} cannot be completed")]
    Closed(OrderStatus),
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}

/// The order was not marked as failed.
#[derive(Debug, thiserror::Error)]
pub enum FailError {
    #[error("the order does not exist")]
    NotFound,
    #[error("the order is completed")]
    Completed,
    /// Failing it now would leave the customer charged without an order.
    #[error("the order's payment was captured and not refunded")]
    Charged,
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}
