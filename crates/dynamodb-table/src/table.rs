//! A table, and its items by key.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    operation::{
        put_item::builders::PutItemFluentBuilder, query::builders::QueryFluentBuilder,
        scan::builders::ScanFluentBuilder, update_item::builders::UpdateItemFluentBuilder,
    },
    types::{
        AttributeValue, ReturnValue,
        builders::{DeleteBuilder, PutBuilder, UpdateBuilder},
    },
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::DynamoDbError;

/// An item, or its key.
pub type Attributes = HashMap<String, AttributeValue>;

/// A table with `K` key attributes, all of them strings. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Table<const K: usize> {
    client: Client,
    name: String,
    key_names: [&'static str; K],
}

/// The expiry of an item in Unix seconds.
#[derive(Deserialize)]
struct Expiry {
    ttl: i64,
}

impl<const K: usize> Table<K> {
    /// `key_names` are the partition key and, in a table that has one, the sort key.
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>, key_names: [&'static str; K]) -> Self {
        Self {
            client,
            name: name.into(),
            key_names,
        }
    }

    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The attributes of a key.
    #[must_use]
    pub fn key(&self, key: [String; K]) -> Attributes {
        let names = self.key_names.map(str::to_owned);
        names.into_iter().zip(key.map(AttributeValue::S)).collect()
    }

    /// The item with this key (strongly consistent read). It may have expired.
    pub async fn get<T: DeserializeOwned>(&self, key: [String; K]) -> Result<Option<T>, DynamoDbError> {
        let item = self.get_attributes(key).await?;
        Ok(item.map(serde_dynamo::from_item).transpose()?)
    }

    /// The item with this key (strongly consistent read), unless its `ttl` has passed.
    pub async fn get_unexpired<T: DeserializeOwned>(
        &self,
        key: [String; K],
        now: DateTime<Utc>,
    ) -> Result<Option<T>, DynamoDbError> {
        unexpired(self.get_attributes(key).await?, now)
    }

    async fn get_attributes(&self, key: [String; K]) -> Result<Option<Attributes>, DynamoDbError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(self.key(key)))
            .consistent_read(true);
        Ok(request.send().await?.item)
    }

    /// Writes an item. It replaces an item with the same key.
    pub async fn put(&self, item: &impl Serialize) -> Result<(), DynamoDbError> {
        self.start_put(item)?.send().await?;
        Ok(())
    }

    /// Writes an item, unless there is one with the same key. Returns whether it was written.
    pub async fn put_if_absent(&self, item: &impl Serialize) -> Result<bool, DynamoDbError> {
        let put = self
            .start_put(item)?
            .condition_expression(format!("attribute_not_exists({})", self.key_names[0]));
        crate::applied(put.send().await)
    }

    /// Deletes the item with this key, if there is one.
    pub async fn delete(&self, key: [String; K]) -> Result<(), DynamoDbError> {
        let request = self.client.delete_item().table_name(&self.name);
        request.set_key(Some(self.key(key))).send().await?;
        Ok(())
    }

    /// Deletes the item with this key and returns it, unless its `ttl` has passed. Of several concurrent
    /// calls, only one gets the item.
    pub async fn take_unexpired<T: DeserializeOwned>(
        &self,
        key: [String; K],
        now: DateTime<Utc>,
    ) -> Result<Option<T>, DynamoDbError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(self.key(key)))
            .return_values(ReturnValue::AllOld);
        unexpired(request.send().await?.attributes, now)
    }

    /// Opens the connection to DynamoDB before the first request that needs it, by reading a key that does
    /// not exist.
    pub async fn warm_up(&self) -> Result<(), DynamoDbError> {
        let absent = self.key_names.map(|_| "#".to_owned());
        self.get_attributes(absent).await.map(drop)
    }

    /// Starts a write of an item, to which the caller adds a condition.
    pub fn start_put(&self, item: &impl Serialize) -> Result<PutItemFluentBuilder, DynamoDbError> {
        let item = serde_dynamo::to_item(item)?;
        Ok(self.client.put_item().table_name(&self.name).set_item(Some(item)))
    }

    /// Starts an update of the item with this key.
    #[must_use]
    pub fn start_update(&self, key: [String; K]) -> UpdateItemFluentBuilder {
        let request = self.client.update_item().table_name(&self.name);
        request.set_key(Some(self.key(key)))
    }

    /// Starts a query of the table or one of its indexes.
    #[must_use]
    pub fn start_query(&self) -> QueryFluentBuilder {
        self.client.query().table_name(&self.name)
    }

    /// Starts a scan of the table.
    #[must_use]
    pub fn start_scan(&self) -> ScanFluentBuilder {
        self.client.scan().table_name(&self.name)
    }

    /// The write of an item, for [`write`](crate::write).
    pub fn put_write(&self, item: &impl Serialize) -> Result<PutBuilder, DynamoDbError> {
        let item = serde_dynamo::to_item(item)?;
        Ok(PutBuilder::default().table_name(&self.name).set_item(Some(item)))
    }

    /// The update of the item with this key, for [`write`](crate::write).
    #[must_use]
    pub fn update_write(&self, key: [String; K]) -> UpdateBuilder {
        let update = UpdateBuilder::default().table_name(&self.name);
        update.set_key(Some(self.key(key)))
    }

    /// The deletion of the item with this key, for [`write`](crate::write).
    #[must_use]
    pub fn delete_write(&self, key: [String; K]) -> DeleteBuilder {
        let delete = DeleteBuilder::default().table_name(&self.name);
        delete.set_key(Some(self.key(key)))
    }

    /// Fails unless DynamoDB describes the table.
    pub async fn check(&self) -> Result<(), DynamoDbError> {
        self.client.describe_table().table_name(&self.name).send().await?;
        Ok(())
    }
}

/// All items that a query finds, from all its pages.
pub async fn all_items<T: DeserializeOwned>(query: QueryFluentBuilder) -> Result<Vec<T>, DynamoDbError> {
    let items = query.into_paginator().items().send();
    let items: Vec<Attributes> = items.try_collect().await?;
    Ok(serde_dynamo::from_items(items)?)
}

fn unexpired<T: DeserializeOwned>(
    item: Option<Attributes>,
    now: DateTime<Utc>,
) -> Result<Option<T>, DynamoDbError> {
    let Some(item) = item else { return Ok(None) };
    let Expiry { ttl } = serde_dynamo::from_item(item.clone())?;
    if ttl <= now.timestamp() {
        return Ok(None);
    }
    Ok(Some(serde_dynamo::from_item(item)?))
}

/// A string attribute.
#[must_use]
pub fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

/// A number attribute.
#[must_use]
pub fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
