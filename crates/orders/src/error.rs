//! Why something could not be done with an order.

use aws_sdk_dynamodb::{
    error::{DisplayErrorContext, SdkError},
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::CancellationReason,
};
use domain::OrderStatus;

/// The store could not be reached, or holds what cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused or did not answer.
    #[error("the order store failed: {0}")]
    Unavailable(String),
    /// An item has not the shape of an order.
    #[error("an item of the order store cannot be read")]
    Unreadable(#[from] serde_dynamo::Error),
    /// The event's place in the outbox could not be made.
    #[error(transparent)]
    Outbox(#[from] event_publishing::OutboxError),
}

impl StoreError {
    /// The SDK's errors tell what happened only along their source chain.
    pub(crate) fn from_sdk(error: impl std::error::Error) -> Self {
        Self::Unavailable(DisplayErrorContext(error).to_string())
    }
}

/// Why an order was not placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The customer has used this idempotency key for another order.
    #[error("the idempotency key belongs to another order")]
    KeyReused,
    /// The same key is being written by a request that runs at this moment.
    #[error("a request with the same idempotency key is in progress")]
    InProgress,
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an order was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The customer has no such order.
    #[error("there is no such order")]
    NotFound,
    /// It has gone too far.
    #[error("an order that is {0} cannot be cancelled")]
    TooLate(OrderStatus),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an order may not be paid.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// Its customer took it back.
    #[error("the order is cancelled")]
    Cancelled,
    /// It has ended, or compensation has closed it to payment.
    #[error("the order is closed to payment")]
    Closed,
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an order was not closed to payment.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// It is completed: there is nothing to put back.
    #[error("the order is completed")]
    Completed,
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an order was not completed.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// It is not being processed, or compensation has closed it.
    #[error("an order that is {0} cannot be completed")]
    Closed(OrderStatus),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an order was not marked failed.
#[derive(Debug, thiserror::Error)]
pub enum FailError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// It is completed.
    #[error("the order is completed")]
    Completed,
    /// Its customer would have paid for nothing.
    #[error("the order's payment was taken and not given back")]
    Charged,
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What stopped a write.
pub(crate) enum WriteRejection {
    /// The conditions of these writes, by their position, were broken.
    ConditionsFailed(Vec<usize>),
    /// Another transaction is at the same items.
    Conflict,
    /// Anything else.
    Failed(StoreError),
}

impl From<SdkError<TransactWriteItemsError>> for WriteRejection {
    fn from(error: SdkError<TransactWriteItemsError>) -> Self {
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let reasons = cancelled.cancellation_reasons();
            let broken = positions(reasons, "ConditionalCheckFailed");
            if !broken.is_empty() {
                return Self::ConditionsFailed(broken);
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
            // It is the only write there is.
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
