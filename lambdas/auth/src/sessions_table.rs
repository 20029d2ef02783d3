//! The DynamoDB table `ecommerce-sessions` (partition key `session_id`): short-lived items that are only read
//! by key. It contains sessions, e-mail links, pending sign-ins and login attempts.

use aws_sdk_dynamodb::{
    Client,
    operation::{put_item::builders::PutItemFluentBuilder, update_item::builders::UpdateItemFluentBuilder},
};
use domain::Timestamp;
use dynamodb_table::{DynamoDbError, Table};
use serde::{Serialize, de::DeserializeOwned};

#[derive(Clone, Debug)]
pub struct SessionsTable(Table<1>);

/// An item: its value, the key and the expiry.
#[derive(Serialize)]
struct Item<'a, T> {
    session_id: &'a str,
    /// Unix seconds.
    ttl: i64,
    #[serde(flatten)]
    value: &'a T,
}

impl SessionsTable {
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self(Table::new(client, name, ["session_id"]))
    }

    /// Opens the connection before the first request.
    pub async fn warm_up(&self) -> Result<(), DynamoDbError> {
        self.0.warm_up().await
    }

    /// Returns `None` when the item does not exist or has expired.
    pub async fn find<T: DeserializeOwned>(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<T>, DynamoDbError> {
        self.0.get_unexpired([key.to_owned()], now).await
    }

    /// Writes an item that expires at `expires_at`. It replaces an item with the same key.
    pub async fn insert(
        &self,
        key: &str,
        value: &impl Serialize,
        expires_at: Timestamp,
    ) -> Result<(), DynamoDbError> {
        self.start_insert(key, value, expires_at)?.send().await?;
        Ok(())
    }

    /// Starts such a write, to which the caller adds a condition.
    pub fn start_insert(
        &self,
        key: &str,
        value: &impl Serialize,
        expires_at: Timestamp,
    ) -> Result<PutItemFluentBuilder, DynamoDbError> {
        self.0.start_put(&Item {
            session_id: key,
            ttl: expires_at.timestamp(),
            value,
        })
    }

    /// Starts an update of an item.
    #[must_use]
    pub fn start_update(&self, key: &str) -> UpdateItemFluentBuilder {
        self.0.start_update([key.to_owned()])
    }

    /// Deletes an item and returns it, unless it has expired. Of several concurrent calls, only one gets the
    /// item.
    pub async fn remove<T: DeserializeOwned>(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<T>, DynamoDbError> {
        self.0.take_unexpired([key.to_owned()], now).await
    }
}
