//! The DynamoDB table `ecommerce-stock-subscriptions` (partition key `product_id`, sort key `connection_id`):
//! which connections watch a product, and the newest level of the product that was pushed.
//!
//! | sort key | item | written by |
//! | --- | --- | --- |
//! | a connection's id | the connection watches the product | `websocket-connection`, once |
//! | `level` | the newest level | `stock-push`, once per push, however many connections watch |
//!
//! A product without a `level` has not changed since its table exists, or for [`LEVEL_RETENTION`].

use std::collections::HashMap;

use aws_sdk_dynamodb::{Client, error::DisplayErrorContext, types::AttributeValue};
use chrono::TimeDelta;
use domain::{Clock, ProductId};
use events::StockPushRequest;
use futures::future::try_join_all;
use serde::Deserialize;

type Attributes = HashMap<String, AttributeValue>;

/// The sort key of a product's level.
const LEVEL: &str = "level";

/// API Gateway closes a connection after two hours.
const SUBSCRIPTION_RETENTION: TimeDelta = TimeDelta::hours(2);

/// A client reads a product's level with the product before it watches the product. So a level only needs to
/// be stored longer than that takes.
const LEVEL_RETENTION: TimeDelta = TimeDelta::days(1);

/// The table. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct StockSubscriptions {
    client: Client,
    table: String,
    clock: Clock,
}

/// A request to the table failed.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionsError {
    /// DynamoDB returned an error or did not respond. The text contains the whole source chain.
    #[error("a request to the table of stock subscriptions failed: {0}")]
    Request(String),
    #[error("an item of the table of stock subscriptions is invalid")]
    InvalidItem(#[from] serde_dynamo::Error),
}

/// Key of an item.
#[derive(Deserialize)]
struct SubscriptionItem {
    connection_id: String,
}

/// Item of a product's level.
#[derive(Deserialize)]
struct LevelItem {
    available: i64,
    version: i64,
}

impl StockSubscriptions {
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>, clock: Clock) -> Self {
        Self {
            client,
            table: table.into(),
            clock,
        }
    }

    /// Adds the connection to those that watch these products. Idempotent.
    pub async fn subscribe(
        &self,
        connection_id: &str,
        products: impl IntoIterator<Item = ProductId>,
    ) -> Result<(), SubscriptionsError> {
        let ttl = self.expiry(SUBSCRIPTION_RETENTION);
        let puts = products.into_iter().map(|product| {
            let mut item = key(product, connection_id);
            item.insert("ttl".to_owned(), ttl.clone());
            self.client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item))
                .send()
        });
        try_join_all(puts).await.map_err(request_error)?;
        Ok(())
    }

    /// Removes the connection from those that watch these products. Idempotent.
    pub async fn unsubscribe(
        &self,
        connection_id: &str,
        products: impl IntoIterator<Item = ProductId>,
    ) -> Result<(), SubscriptionsError> {
        let deletes = products.into_iter().map(|product| {
            let key = key(product, connection_id);
            self.client
                .delete_item()
                .table_name(&self.table)
                .set_key(Some(key))
                .send()
        });
        try_join_all(deletes).await.map_err(request_error)?;
        Ok(())
    }

    /// The newest levels of these products, as far as they are known (consistent reads).
    pub async fn levels(
        &self,
        products: impl IntoIterator<Item = ProductId>,
    ) -> Result<Vec<StockPushRequest>, SubscriptionsError> {
        let reads = products.into_iter().map(|product| self.level(product));
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    async fn level(&self, product_id: ProductId) -> Result<Option<StockPushRequest>, SubscriptionsError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(product_id, LEVEL)))
            .consistent_read(true);
        let Some(item) = request.send().await.map_err(request_error)?.item else {
            return Ok(None);
        };
        let LevelItem { available, version } = serde_dynamo::from_item(item)?;
        Ok(Some(StockPushRequest {
            product_id,
            available,
            version,
        }))
    }

    /// Stores a level. Returns `false` if a newer one is stored.
    pub async fn store_level(&self, level: StockPushRequest) -> Result<bool, SubscriptionsError> {
        let stored = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(level.product_id, LEVEL)))
            .update_expression("SET available = :available, version = :version, #ttl = :ttl")
            .condition_expression("attribute_not_exists(version) OR version <= :version")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":available", number(level.available))
            .expression_attribute_values(":version", number(level.version))
            .expression_attribute_values(":ttl", self.expiry(LEVEL_RETENTION))
            .send()
            .await;
        match stored {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(request_error(error)),
        }
    }

    /// The connections that watch a product (consistent read).
    pub async fn subscribers(&self, product_id: ProductId) -> Result<Vec<String>, SubscriptionsError> {
        let items: Vec<Attributes> = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("product_id = :product")
            .filter_expression("#ttl > :now")
            .projection_expression("connection_id")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":product", AttributeValue::S(product_id.to_string()))
            .expression_attribute_values(":now", number(self.clock.now().timestamp()))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(request_error)?;
        let items: Vec<SubscriptionItem> = serde_dynamo::from_items(items)?;
        let sort_keys = items.into_iter().map(|item| item.connection_id);
        Ok(sort_keys.filter(|sort_key| sort_key != LEVEL).collect())
    }

    fn expiry(&self, after: TimeDelta) -> AttributeValue {
        number((self.clock.now() + after).timestamp())
    }
}

fn key(product_id: ProductId, connection_id: &str) -> Attributes {
    let text = |value: String| AttributeValue::S(value);
    HashMap::from([
        ("product_id".to_owned(), text(product_id.to_string())),
        ("connection_id".to_owned(), text(connection_id.to_owned())),
    ])
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn request_error(error: impl std::error::Error) -> SubscriptionsError {
    SubscriptionsError::Request(DisplayErrorContext(error).to_string())
}
