//! The limit of open orders per account.
//!
//! One item of the idempotency store per account lists the orders that were open when it was last written.
//! The transaction that places an order writes it, on the condition that it is unchanged, so parallel
//! requests cannot exceed the limit together. Orders that have ended leave the list only when it is full: no
//! step of the saga writes it.

use aws_sdk_dynamodb::types::Put;
use chrono::TimeDelta;
use domain::{OrderId, UserId};
use dynamodb_table::{DynamoDbError, number};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use crate::{Order, OrderPlacement};

/// An order that is open for longer, waiting for an operator, no longer counts.
const RETENTION: TimeDelta = TimeDelta::days(30);

/// Item of the idempotency store.
#[derive(Debug, Serialize, Deserialize)]
struct OpenOrdersRecord {
    id: String,
    order_ids: Vec<OrderId>,
    /// Increases with every write.
    version: i64,
    /// Unix seconds.
    ttl: i64,
}

impl OrderPlacement {
    /// Returns the write that adds an order to the open orders of its account, or `None` if the account has
    /// `max` open orders.
    pub(crate) async fn add_open_order(&self, order: &Order, max: u32) -> Result<Option<Put>, DynamoDbError> {
        let id = format!("open-orders#{}", order.user_id);
        let stored: Option<OpenOrdersRecord> = self.idempotency.get([id.clone()]).await?;
        let (mut order_ids, version) = match stored {
            Some(record) => (record.order_ids, Some(record.version)),
            None => (Vec::new(), None),
        };
        if order_ids.len() >= max as usize {
            order_ids = self.retain_open(order.user_id, order_ids).await?;
        }
        if order_ids.len() >= max as usize {
            return Ok(None);
        }
        order_ids.push(order.order_id);
        let record = OpenOrdersRecord {
            id,
            order_ids,
            version: version.map_or(1, |version| version + 1),
            ttl: (order.created_at + RETENTION).timestamp(),
        };
        let put = self.idempotency.put_write(&record)?;
        let put = match version {
            None => put.condition_expression("attribute_not_exists(id)"),
            Some(version) => put
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number(version)),
        };
        Ok(Some(put.build().expect("the write has a table and an item")))
    }

    async fn retain_open(
        &self,
        user_id: UserId,
        order_ids: Vec<OrderId>,
    ) -> Result<Vec<OrderId>, DynamoDbError> {
        let orders = order_ids
            .into_iter()
            .map(|order_id| self.orders.find(user_id, order_id));
        let open = try_join_all(orders)
            .await?
            .into_iter()
            .flatten()
            .filter(|order| !order.status.is_final());
        Ok(open.map(|order| order.order_id).collect())
    }
}
