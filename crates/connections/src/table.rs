//! The table, and what all its items have in common.

use std::collections::HashMap;

use aws_sdk_dynamodb::{Client, error::DisplayErrorContext, types::AttributeValue};
use domain::Clock;

pub(crate) type Attributes = HashMap<String, AttributeValue>;

/// The partition key.
pub(crate) const KEY: &str = "connection_id";

/// The table. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ConnectionsTable {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) clock: Clock,
}

/// A request to the table failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionsError {
    /// DynamoDB returned an error or did not respond. The text contains the whole source chain.
    #[error("a request to the connections table failed: {0}")]
    Request(String),
    /// A value and an item of the table cannot be converted into each other.
    #[error("an item of the connections table is invalid")]
    InvalidItem(#[from] serde_dynamo::Error),
}

impl ConnectionsTable {
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>, clock: Clock) -> Self {
        Self {
            client,
            name: name.into(),
            clock,
        }
    }
}

impl ConnectionsError {
    pub(crate) fn from_sdk(error: impl std::error::Error) -> Self {
        Self::Request(DisplayErrorContext(error).to_string())
    }
}

pub(crate) fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

pub(crate) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
