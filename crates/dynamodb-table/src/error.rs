//! Why a request to DynamoDB failed.

use std::fmt;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// Why a request to DynamoDB failed.
#[derive(Debug, thiserror::Error)]
pub enum DynamoDbError {
    /// The conditions of these writes do not hold, and none of the writes was applied. Contains the positions
    /// of the writes; a single write has the position 0.
    #[error("the condition of a write to DynamoDB does not hold")]
    ConditionsFailed(Vec<usize>),
    /// Another transaction was writing the same items.
    #[error("another transaction was writing the same items of DynamoDB")]
    Conflict,
    /// DynamoDB returned an error or did not respond. The text contains the whole source chain, because the
    /// message of an SDK error does not state the cause.
    #[error("a request to DynamoDB failed: {0}")]
    Unavailable(String),
    /// A value and an item cannot be converted into each other.
    #[error("an item of a DynamoDB table is invalid")]
    InvalidItem(#[from] serde_dynamo::Error),
}

impl DynamoDbError {
    /// True if the same request may succeed shortly.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Conflict)
    }

    /// The error of a request that cannot be built or got no usable response.
    pub(crate) fn unavailable(error: impl std::error::Error) -> Self {
        Self::Unavailable(DisplayErrorContext(error).to_string())
    }
}

impl<E, R> From<SdkError<E, R>> for DynamoDbError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug,
{
    fn from(error: SdkError<E, R>) -> Self {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        match code {
            Some("ConditionalCheckFailedException") => Self::ConditionsFailed(vec![0]),
            Some("TransactionConflictException") => Self::Conflict,
            _ => Self::unavailable(error),
        }
    }
}

/// Whether the condition of a write held, so that the write was applied.
pub fn applied<T>(written: Result<T, impl Into<DynamoDbError>>) -> Result<bool, DynamoDbError> {
    match written.map_err(Into::into) {
        Ok(_) => Ok(true),
        Err(DynamoDbError::ConditionsFailed(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
