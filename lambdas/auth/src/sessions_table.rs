//! The DynamoDB table `ecommerce-sessions` (partition key `session_id`): short-lived items that are only read
//! by key.
//!
//! It contains sessions, e-mail links, pending sign-ins and login attempts. DynamoDB deletes an item some
//! time after its `ttl`, so every read checks the `ttl` itself.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::{
        put_item::PutItemError,
        update_item::{UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValue},
};
use domain::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

type Attributes = HashMap<String, AttributeValue>;

#[derive(Clone, Debug)]
pub struct SessionsTable {
    client: Client,
    name: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionsTableError {
    /// The message contains the whole source chain, because `Display` of an SDK error omits its cause.
    #[error("a request to the sessions table failed: {}", DisplayErrorContext(&**.0))]
    Request(#[source] Box<aws_sdk_dynamodb::Error>),
    /// A value and an item of the table cannot be converted into each other.
    #[error("an item of the sessions table is invalid: {0}")]
    InvalidItem(#[from] serde_dynamo::Error),
    #[error("the sessions table returned no attributes for an update that has no condition")]
    NoAttributes,
}

/// A DynamoDB condition expression for the replacement of an item.
#[derive(Debug)]
pub struct Condition<'a> {
    pub expression: &'a str,
    /// The expression's placeholders and their values.
    pub values: Vec<(&'a str, AttributeValue)>,
}

impl SessionsTable {
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// Opens the connection before the first request, by reading a key that never exists.
    pub async fn warm_up(&self) -> Result<(), SessionsTableError> {
        self.get_item("#").await.map(drop)
    }

    /// Returns `None` when the item does not exist or has expired.
    pub async fn find<T: DeserializeOwned>(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<T>, SessionsTableError> {
        deserialize_unexpired(self.get_item(key).await?, now)
    }

    /// Writes an item that expires at `expires_at`. It replaces an item with the same key.
    pub async fn insert(
        &self,
        key: &str,
        value: &impl Serialize,
        expires_at: Timestamp,
    ) -> Result<(), SessionsTableError> {
        self.put(key, value, expires_at, None).await.map(drop)
    }

    /// Writes an item if the condition holds for the item that it replaces. Returns `false` when it does not
    /// hold.
    pub async fn put(
        &self,
        key: &str,
        value: &impl Serialize,
        expires_at: Timestamp,
        condition: Option<Condition<'_>>,
    ) -> Result<bool, SessionsTableError> {
        let mut item: Attributes = serde_dynamo::to_item(value)?;
        item.insert("session_id".to_owned(), string_attribute(key));
        item.insert("ttl".to_owned(), number_attribute(expires_at.timestamp()));
        let mut put = self.client.put_item().table_name(&self.name).set_item(Some(item));
        if let Some(condition) = condition {
            put = put.condition_expression(condition.expression);
            for (name, value) in condition.values {
                put = put.expression_attribute_values(name, value);
            }
        }
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if is_condition_failure(&error, PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(request_error(error)),
        }
    }

    /// Starts an update of an item. Pass the result of `send` to [`Self::updated_item`], or to
    /// [`Self::was_updated`] if the update has a condition.
    #[must_use]
    pub fn update(&self, key: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("session_id", string_attribute(key))
            .return_values(ReturnValue::AllNew)
    }

    /// The item after an update that has no condition.
    pub fn updated_item<T: DeserializeOwned>(
        sent: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
    ) -> Result<T, SessionsTableError> {
        let output = sent.map_err(request_error)?;
        let attributes = output.attributes.ok_or(SessionsTableError::NoAttributes)?;
        Ok(serde_dynamo::from_item(attributes)?)
    }

    /// Whether the condition of an update held, and the update was applied.
    pub fn was_updated(
        sent: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
    ) -> Result<bool, SessionsTableError> {
        match sent {
            Ok(_) => Ok(true),
            Err(error)
                if is_condition_failure(&error, UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(request_error(error)),
        }
    }

    /// Deletes an item and returns it. Of several concurrent calls, only one gets the item.
    pub async fn remove<T: DeserializeOwned>(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<T>, SessionsTableError> {
        let output = self
            .client
            .delete_item()
            .table_name(&self.name)
            .key("session_id", string_attribute(key))
            .return_values(ReturnValue::AllOld)
            .send()
            .await
            .map_err(request_error)?;
        deserialize_unexpired(output.attributes, now)
    }

    async fn get_item(&self, key: &str) -> Result<Option<Attributes>, SessionsTableError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("session_id", string_attribute(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(request_error)?;
        Ok(output.item)
    }
}

fn deserialize_unexpired<T: DeserializeOwned>(
    item: Option<Attributes>,
    now: Timestamp,
) -> Result<Option<T>, SessionsTableError> {
    #[derive(Deserialize)]
    struct Expiry {
        ttl: i64,
    }
    let Some(item) = item else { return Ok(None) };
    let expiry: Expiry = serde_dynamo::from_item(item.clone())?;
    if expiry.ttl <= now.timestamp() {
        return Ok(None);
    }
    Ok(Some(serde_dynamo::from_item(item)?))
}

pub fn string_attribute(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub fn number_attribute(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn is_condition_failure<E>(error: &SdkError<E>, is_condition_failure: fn(&E) -> bool) -> bool {
    error.as_service_error().is_some_and(is_condition_failure)
}

fn request_error(error: impl Into<aws_sdk_dynamodb::Error>) -> SessionsTableError {
    SessionsTableError::Request(Box::new(error.into()))
}
