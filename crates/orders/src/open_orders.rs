//! Open orders: finding stuck and parked ones, and recording restarts of their saga.
//!
//! The index is sparse: an order has its key attribute `open` only while it is open. The key is sharded,
//! because one partition's limit of 1,000 writes per second would throttle the table itself during a flash
//! sale. Parked orders, which wait for an operator, have a shard of their own until they have ended.

use domain::{OrderId, OrderStatus, Timestamp, UserId};
use dynamodb_table::{Attributes, DynamoDbError, text};
use futures::future::try_join_all;
use serde::Deserialize;

use crate::{
    Order, Orders,
    store::{OrderUpdate, WriteOutcome},
};

/// Index of open orders in the orders table: keys `open` and `order_id`, with the attribute `waits_until`.
pub const OPEN_ORDERS_INDEX: &str = "open-orders-index";

/// The number of restarts of a saga before its order is parked.
pub const MAX_RESTARTS: u32 = 3;

/// Shards of the index. Each sustains 1,000 writes per second.
const SHARDS: u8 = 8;

/// The shard of parked orders, which are few.
const PARKED: &str = "parked";

/// Maximum pages (of up to 1 MB, some ten thousand orders) read per shard.
const MAX_PAGES_PER_SHARD: usize = 10;

/// Summary of the open orders, or of the parked ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOrders {
    /// Number of open orders; a lower bound if there are hundreds of thousands.
    pub count: u64,
    pub oldest: Option<OrderId>,
    /// Orders placed before the requested time that do not wait for their customer, oldest first, up to the
    /// requested limit.
    pub overdue: Vec<(UserId, OrderId)>,
}

/// Item of the index.
#[derive(Deserialize)]
struct OrderKey {
    user_id: UserId,
    order_id: OrderId,
    #[serde(default)]
    waits_until: Option<Timestamp>,
}

/// The index shard of an order, which is the value of its attribute `open`.
pub(crate) fn shard(order_id: OrderId) -> String {
    let [.., last] = *order_id.0.as_bytes();
    (last % SHARDS).to_string()
}

impl Order {
    /// The number of restarts from which the order is parked.
    #[must_use]
    pub fn restart_limit(&self) -> u32 {
        self.restart_limit.unwrap_or(MAX_RESTARTS)
    }

    /// Whether the order waits for an operator.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.open.as_deref() == Some(PARKED)
    }
}

impl Orders {
    /// Returns a summary of the open orders, with up to `limit` of those that were placed before `before` and
    /// do not wait for their customer. The index is eventually consistent, so a returned order may just have
    /// ended.
    pub async fn open_orders(&self, before: Timestamp, limit: usize) -> Result<OpenOrders, DynamoDbError> {
        let mut open = OpenOrders::default();
        let shards: Vec<String> = (0..SHARDS).map(|shard| shard.to_string()).collect();
        let shards = shards
            .iter()
            .map(|shard| self.open_orders_in_shard(shard, before, limit));
        for open_in_shard in try_join_all(shards).await? {
            open.count += open_in_shard.count;
            open.oldest = open.oldest.into_iter().chain(open_in_shard.oldest).min();
            open.overdue.extend(open_in_shard.overdue);
        }
        open.overdue.sort_by_key(|(_, order_id)| *order_id);
        open.overdue.truncate(limit);
        Ok(open)
    }

    /// Returns a summary of the parked orders, with up to `limit` of them.
    pub async fn parked_orders(&self, limit: usize) -> Result<OpenOrders, DynamoDbError> {
        self.open_orders_in_shard(PARKED, Timestamp::MAX_UTC, limit).await
    }

    async fn open_orders_in_shard(
        &self,
        shard: &str,
        before: Timestamp,
        limit: usize,
    ) -> Result<OpenOrders, DynamoDbError> {
        let now = self.clock.now();
        let is_overdue = |key: &OrderKey| {
            key.order_id.created_at() < before && key.waits_until.is_none_or(|until| until <= now)
        };
        let mut open = OpenOrders::default();
        let mut start: Option<Attributes> = None;
        for _ in 0..MAX_PAGES_PER_SHARD {
            let page = self
                .table
                .start_query()
                .index_name(OPEN_ORDERS_INDEX)
                .key_condition_expression("#open = :shard")
                .expression_attribute_names("#open", "open")
                .expression_attribute_values(":shard", text(shard))
                .set_exclusive_start_key(start)
                .send()
                .await?;
            let keys: Vec<OrderKey> = serde_dynamo::from_items(page.items.unwrap_or_default())?;
            open.count += keys.len() as u64;
            open.oldest = open.oldest.or(keys.first().map(|key| key.order_id));
            let remaining = limit - open.overdue.len();
            let overdue = keys.into_iter().filter(is_overdue).take(remaining);
            open.overdue
                .extend(overdue.map(|key| (key.user_id, key.order_id)));
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                break;
            }
        }
        Ok(open)
    }

    /// Increments the order's restart counter. Returns false if the order has ended or another caller has
    /// incremented it. The caller that got true must start the saga; if it crashes before, the execution with
    /// that number is missing, which the next reconciliation detects.
    pub async fn increment_restarts(&self, order: &Order) -> Result<bool, DynamoDbError> {
        let at = self.clock.now();
        let update = OrderUpdate::for_order(order.user_id, order.order_id)
            .require_status(&OrderStatus::OPEN)
            .require_eq("restarts", order.restarts)
            .set("restarts", order.restarts + 1)
            .set("restarted_at", at);
        self.was_applied(update).await
    }

    /// Parks an open order: from then on an operator must resolve it. Returns false if the order has ended or
    /// its saga was restarted meanwhile.
    pub async fn park(&self, order: &Order) -> Result<bool, DynamoDbError> {
        let update = OrderUpdate::for_order(order.user_id, order.order_id)
            .require_status(&OrderStatus::OPEN)
            .require_eq("restarts", order.restarts)
            .set("open", PARKED)
            .set("parked_at", self.clock.now());
        self.was_applied(update).await
    }

    /// Makes a parked order that was redriven an open one again, with [`MAX_RESTARTS`] more restarts of its
    /// saga. Returns false if the order has ended or is not parked.
    pub async fn unpark(&self, order: &Order) -> Result<bool, DynamoDbError> {
        let update = OrderUpdate::for_order(order.user_id, order.order_id)
            .require_status(&OrderStatus::OPEN)
            .require_eq("open", PARKED)
            .set("open", shard(order.order_id))
            .set("restart_limit", order.restarts + MAX_RESTARTS);
        self.was_applied(update).await
    }

    async fn was_applied(&self, update: OrderUpdate) -> Result<bool, DynamoDbError> {
        Ok(matches!(self.write(update).await?, WriteOutcome::Applied))
    }
}
