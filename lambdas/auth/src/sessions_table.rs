//! The table `ecommerce-sessions`, key `session_id`: what lasts from minutes to weeks and is read by its key alone.
//!
//! DynamoDB takes out what is past its `ttl` some time later, so each item's end is checked when it is read.

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

/// An item without its key.
type Attributes = HashMap<String, AttributeValue>;

/// The table. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct SessionsTable {
    client: Client,
    table: String,
}

/// DynamoDB did not do it, or what is there cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the sessions' table failed: {0}")]
pub struct SessionsTableError(String);

/// What must hold of an item for it to be replaced.
#[derive(Debug)]
pub struct Condition<'a> {
    /// In DynamoDB's own language.
    pub expression: &'a str,
    /// What its placeholders stand for.
    pub values: Vec<(&'a str, AttributeValue)>,
}

impl SessionsTable {
    /// The table named `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }

    /// Reads what is not there, so that the connection is made before it is needed.
    pub async fn warm_up(&self) -> Result<(), SessionsTableError> {
        self.get_item("#").await.map(drop)
    }

    /// What is kept under `id`, if its time is not over.
    pub async fn find<T: DeserializeOwned>(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<T>, SessionsTableError> {
        deserialize_unexpired(self.get_item(id).await?, now)
    }

    /// Keeps `value` under `id`, which is new, until `ends`.
    pub async fn insert(
        &self,
        id: &str,
        value: &impl Serialize,
        ends: Timestamp,
    ) -> Result<(), SessionsTableError> {
        self.put(id, value, ends, None).await.map(drop)
    }

    /// Keeps `value` under `id` if the condition holds of what is there. False when it does not.
    pub async fn put(
        &self,
        id: &str,
        value: &impl Serialize,
        ends: Timestamp,
        condition: Option<Condition<'_>>,
    ) -> Result<bool, SessionsTableError> {
        let mut item: Attributes = serde_dynamo::to_item(value).map_err(serde_error)?;
        item.insert("session_id".to_owned(), string_attribute(id));
        item.insert("ttl".to_owned(), number_attribute(ends.timestamp()));
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item));
        if let Some(condition) = condition {
            put = put.condition_expression(condition.expression);
            for (name, value) in condition.values {
                put = put.expression_attribute_values(name, value);
            }
        }
        match put.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(true),
            Err(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
            Err(error) => Err(sdk_error(error)),
        }
    }

    /// An update of what is kept under `id`, to be said and sent by the caller. It ends with [`Self::written`].
    #[must_use]
    pub fn update(&self, id: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("session_id", string_attribute(id))
    }

    /// The item as an update left it; none when its condition did not hold.
    pub fn updated_item<T: DeserializeOwned>(
        sent: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
    ) -> Result<Option<T>, SessionsTableError> {
        match sent.map_err(SdkError::into_service_error) {
            Ok(answer) => {
                let item = answer.attributes.unwrap_or_default();
                serde_dynamo::from_item(item).map(Some).map_err(serde_error)
            }
            Err(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(None),
            Err(error) => Err(sdk_error(error)),
        }
    }

    /// Takes out what is kept under `id`. One of many who do so at once gets it, and the others nothing.
    pub async fn remove<T: DeserializeOwned>(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<T>, SessionsTableError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("session_id", string_attribute(id))
            .return_values(ReturnValue::AllOld)
            .send()
            .await
            .map_err(sdk_error)?;
        deserialize_unexpired(deleted.attributes, now)
    }

    async fn get_item(&self, id: &str) -> Result<Option<Attributes>, SessionsTableError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("session_id", string_attribute(id))
            .consistent_read(true)
            .send()
            .await
            .map_err(sdk_error)?;
        Ok(got.item)
    }
}

/// The value in an item, if its time is not over.
fn deserialize_unexpired<T: DeserializeOwned>(
    item: Option<Attributes>,
    now: Timestamp,
) -> Result<Option<T>, SessionsTableError> {
    #[derive(Deserialize)]
    struct Expiry {
        ttl: i64,
    }
    let Some(item) = item else { return Ok(None) };
    let end: Expiry = serde_dynamo::from_item(item.clone()).map_err(serde_error)?;
    if end.ttl <= now.timestamp() {
        return Ok(None);
    }
    serde_dynamo::from_item(item).map(Some).map_err(serde_error)
}

/// A text attribute.
pub fn string_attribute(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// A number attribute.
pub fn number_attribute(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The SDK's errors tell what happened only along their source chain.
fn sdk_error(error: impl std::error::Error + Send + Sync + 'static) -> SessionsTableError {
    SessionsTableError(DisplayErrorContext(error).to_string())
}

fn serde_error(error: serde_dynamo::Error) -> SessionsTableError {
    SessionsTableError(error.to_string())
}
