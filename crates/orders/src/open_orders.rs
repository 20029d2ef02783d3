//! Orders that have not come to their end: finding those that are stuck, and what is done about one.
//!
//! The index has a key's attribute only while an order is open, so it holds no others. It is divided into parts,
//! because on sale day one part's limit of a thousand writes a second would hold back the table itself.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{OrderId, OrderStatus, Timestamp, UserId};
use futures::future::try_join_all;
use serde::Deserialize;

use crate::{
    Order, Orders, StoreError,
    store::{OrderUpdate, WriteOutcome},
};

/// The index of open orders in the table of orders: `open`, `order_id`; it holds keys only.
pub const OPEN_ORDERS_INDEX: &str = "open-orders-index";

/// How many parts the index has. Each takes a thousand orders in and out a second.
const SHARDS: u8 = 8;

/// How many pages of up to a megabyte are read of each part: some ten thousand orders each.
const MAX_PAGES_PER_SHARD: usize = 10;

/// The orders that have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOrders {
    /// How many there are; when there are hundreds of thousands, at least so many.
    pub count: u64,
    /// The oldest of them, if there are any.
    pub oldest: Option<OrderId>,
    /// The oldest of those placed before the time that was asked for, oldest first.
    pub overdue: Vec<(UserId, OrderId)>,
}

/// What the index holds of an order.
#[derive(Deserialize)]
struct OrderKey {
    user_id: UserId,
    order_id: OrderId,
}

/// The part of the index that an order stands in while it is open.
pub(crate) fn shard(order_id: OrderId) -> String {
    let [.., last] = *order_id.0.as_bytes();
    (last % SHARDS).to_string()
}

impl Orders {
    /// What is open, and up to `limit` of those placed before `before`. The index follows the table within a
    /// moment, so an order that is named here may have ended just now.
    pub async fn open_orders(&self, before: Timestamp, limit: usize) -> Result<OpenOrders, StoreError> {
        let mut open = OpenOrders::default();
        for part in
            try_join_all((0..SHARDS).map(|part| self.open_orders_in_shard(part, before, limit))).await?
        {
            open.count += part.count;
            open.oldest = open.oldest.into_iter().chain(part.oldest).min();
            open.overdue.extend(part.overdue);
        }
        open.overdue.sort_by_key(|(_, order_id)| *order_id);
        open.overdue.truncate(limit);
        Ok(open)
    }

    async fn open_orders_in_shard(
        &self,
        part: u8,
        before: Timestamp,
        limit: usize,
    ) -> Result<OpenOrders, StoreError> {
        let mut open = OpenOrders::default();
        let mut start: Option<HashMap<String, AttributeValue>> = None;
        for _ in 0..MAX_PAGES_PER_SHARD {
            let page = self
                .client
                .query()
                .table_name(&self.tables.orders)
                .index_name(OPEN_ORDERS_INDEX)
                .key_condition_expression("#open = :part")
                .expression_attribute_names("#open", "open")
                .expression_attribute_values(":part", AttributeValue::S(part.to_string()))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(StoreError::from_sdk)?;
            let keys: Vec<OrderKey> = serde_dynamo::from_items(page.items.unwrap_or_default())?;
            open.count += keys.len() as u64;
            open.oldest = open.oldest.or(keys.first().map(|key| key.order_id));
            let room = limit - open.overdue.len();
            let overdue = keys.into_iter().filter(|key| key.order_id.created_at() < before);
            open.overdue
                .extend(overdue.take(room).map(|key| (key.user_id, key.order_id)));
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                break;
            }
        }
        Ok(open)
    }

    /// Counts one more start of the order's saga, unless the order has ended or somebody else has counted it.
    /// Whoever counted starts it; if that is never done, the execution of that number is not there, which can
    /// be seen.
    pub async fn increment_restarts(&self, order: &Order) -> Result<bool, StoreError> {
        let at = self.clock.now();
        let change = OrderUpdate::for_order(order.user_id, order.order_id)
            .require_status(&OrderStatus::OPEN)
            .require_eq("restarts", order.restarts)
            .set("restarts", order.restarts + 1)
            .set("restarted_at", at);
        self.was_applied(order, change).await
    }

    /// Takes an order that has not ended out of the index: from here on it is a person's.
    pub async fn mark_for_operator(&self, order: &Order) -> Result<bool, StoreError> {
        let change = OrderUpdate::for_order(order.user_id, order.order_id)
            .require_status(&OrderStatus::OPEN)
            .require_eq("restarts", order.restarts)
            .remove("open");
        self.was_applied(order, change).await
    }

    async fn was_applied(&self, order: &Order, change: OrderUpdate) -> Result<bool, StoreError> {
        let outcome = self
            .try_write((order.user_id, order.order_id), change, None)
            .await?;
        Ok(matches!(outcome, WriteOutcome::Applied))
    }
}
