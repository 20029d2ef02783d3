//! Errors of the order store.

use aws_sdk_dynamodb::{
    error::{DisplayErrorContext, SdkError},
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::CancellationReason,
};
use domain::OrderStatus;

/// DynamoDB failed or contains invalid data.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB returned an error or did not respond.
    #[error("order store request failed: {0}")]
    Unavailable(String),
    /// An item cannot be deserialised.
    #[error("invalid item in the order store")]
    Unreadable(#[from] serde_dynamo::Error),
    /// The outbox write could not be built.
    #[error(transparent)]
    Outbox(#[from] event_publishing::OutboxError),
}

impl StoreError {
    /// SDK errors carry their details only in the source chain.
    pub(crate) fn from_sdk(error: impl std::error::Error) -> Self {
        Self::Unavailable(DisplayErrorContext(error).to_string())
    }
}

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
    Store(#[from] StoreError),
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
    Store(#[from] StoreError),
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
    Store(#[from] StoreError),
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
    Store(#[from] StoreError),
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
    Store(#[from] StoreError),
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
    Store(#[from] StoreError),
}

/// Why DynamoDB rejected a write.
pub(crate) enum WriteRejection {
    /// Positions of the writes in the transaction whose conditions failed.
    ConditionsFailed(Vec<usize>),
    /// Another transaction was writing the same items.
    Conflict,
    /// Any other error.
    Failed(StoreError),
}

impl From<SdkError<TransactWriteItemsError>> for WriteRejection {
    fn from(error: SdkError<TransactWriteItemsError>) -> Self {
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let reasons = cancelled.cancellation_reasons();
            let failed = positions(reasons, "ConditionalCheckFailed");
            if !failed.is_empty() {
                return Self::ConditionsFailed(failed);
            }
            if !positions(reasons, "TransactionConflict").is_empty() {
                return Self::Conflict;
            }
        }
        Self::Failed(StoreError::from_sdk(error))
    }
}

impl From<SdkError<UpdateItemError>> for WriteRejection {
    fn from(error: SdkError<UpdateItemError>) -> Self {
        match error.as_service_error() {
            // UpdateItem consists of a single write.
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => Self::ConditionsFailed(vec![0]),
            Some(UpdateItemError::TransactionConflictException(_)) => Self::Conflict,
            _ => Self::Failed(StoreError::from_sdk(error)),
        }
    }
}

fn positions(reasons: &[CancellationReason], code: &str) -> Vec<usize> {
    reasons
        .iter()
        .enumerate()
        .filter(|(_, reason)| reason.code() == Some(code))
        .map(|(at, _)| at)
        .collect()
}
