//! The DynamoDB table `ecommerce-stock-subscriptions` (partition key `product_id`, sort key `connection_id`):
//! which connections watch a product, and the newest level of the product that was pushed.
//!
//! | sort key | item | written by |
//! | --- | --- | --- |
//! | a connection's id | the connection watches the product | `websocket-connection`, once |
//! | `level` | the newest level | `stock-push`, once per push, however many connections watch |
//!
//! A product without a `level` has not changed since its table exists, or for [`LEVEL_RETENTION`].

use aws_sdk_dynamodb::Client;
use chrono::TimeDelta;
use domain::{Clock, ProductId};
use dynamodb_table::{DynamoDbError, Table, all_items, applied, number, text};
use events::StockPushRequest;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

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
    table: Table<2>,
    clock: Clock,
}

/// Item of a subscription.
#[derive(Serialize)]
struct SubscriptionItem<'a> {
    product_id: ProductId,
    connection_id: &'a str,
    /// Unix seconds.
    ttl: i64,
}

/// Sort key of an item.
#[derive(Deserialize)]
struct SortKey {
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
            table: Table::new(client, table, ["product_id", "connection_id"]),
            clock,
        }
    }

    /// Adds the connection to those that watch these products. Idempotent.
    pub async fn subscribe(
        &self,
        connection_id: &str,
        products: impl IntoIterator<Item = ProductId>,
    ) -> Result<(), DynamoDbError> {
        let ttl = self.expiry(SUBSCRIPTION_RETENTION);
        let puts = products.into_iter().map(async |product_id| {
            let item = SubscriptionItem {
                product_id,
                connection_id,
                ttl,
            };
            self.table.put(&item).await
        });
        try_join_all(puts).await.map(drop)
    }

    /// Removes the connection from those that watch these products. Idempotent.
    pub async fn unsubscribe(
        &self,
        connection_id: &str,
        products: impl IntoIterator<Item = ProductId>,
    ) -> Result<(), DynamoDbError> {
        let keys = products.into_iter().map(|product| key(product, connection_id));
        try_join_all(keys.map(|key| self.table.delete(key)))
            .await
            .map(drop)
    }

    /// The newest levels of these products, as far as they are known (consistent reads).
    pub async fn levels(
        &self,
        products: impl IntoIterator<Item = ProductId>,
    ) -> Result<Vec<StockPushRequest>, DynamoDbError> {
        let reads = products.into_iter().map(|product| self.level(product));
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    async fn level(&self, product_id: ProductId) -> Result<Option<StockPushRequest>, DynamoDbError> {
        let level: Option<LevelItem> = self.table.get(key(product_id, LEVEL)).await?;
        Ok(level.map(|LevelItem { available, version }| StockPushRequest {
            product_id,
            available,
            version,
        }))
    }

    /// Stores a level. Returns `false` if a newer one is stored.
    pub async fn store_level(&self, level: StockPushRequest) -> Result<bool, DynamoDbError> {
        let stored = self
            .table
            .start_update(key(level.product_id, LEVEL))
            .update_expression("SET available = :available, version = :version, #ttl = :ttl")
            .condition_expression("attribute_not_exists(version) OR version <= :version")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":available", number(level.available))
            .expression_attribute_values(":version", number(level.version))
            .expression_attribute_values(":ttl", number(self.expiry(LEVEL_RETENTION)))
            .send()
            .await;
        applied(stored)
    }

    /// The connections that watch a product (consistent read).
    pub async fn subscribers(&self, product_id: ProductId) -> Result<Vec<String>, DynamoDbError> {
        let query = self
            .table
            .start_query()
            .consistent_read(true)
            .key_condition_expression("product_id = :product")
            .filter_expression("#ttl > :now")
            .projection_expression("connection_id")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":product", text(product_id))
            .expression_attribute_values(":now", number(self.clock.now().timestamp()));
        let items: Vec<SortKey> = all_items(query).await?;
        let sort_keys = items.into_iter().map(|item| item.connection_id);
        Ok(sort_keys.filter(|sort_key| sort_key != LEVEL).collect())
    }

    /// In Unix seconds.
    fn expiry(&self, after: TimeDelta) -> i64 {
        (self.clock.now() + after).timestamp()
    }
}

fn key(product_id: ProductId, connection_id: &str) -> [String; 2] {
    [product_id.to_string(), connection_id.to_owned()]
}
