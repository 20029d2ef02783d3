//! Order queries. Every query names the customer, so that the orders of other customers cannot be read.

use domain::{OrderId, UserId};
use dynamodb_table::{DynamoDbError, text};

use crate::{Order, Orders, Page};

impl Orders {
    /// Returns an order of a customer (strongly consistent read).
    pub async fn find(&self, user_id: UserId, order_id: OrderId) -> Result<Option<Order>, DynamoDbError> {
        self.table.get([user_id.to_string(), order_id.to_string()]).await
    }

    /// Returns up to `limit` orders of a customer, newest first, starting with `from`. A page of DynamoDB
    /// ends at one megabyte, which twelve of the largest orders exceed, so one call may read several pages.
    pub async fn list(
        &self,
        user_id: UserId,
        limit: u32,
        from: Option<OrderId>,
    ) -> Result<Page, DynamoDbError> {
        let mut query = self
            .table
            .start_query()
            .key_condition_expression("user_id = :user")
            .expression_attribute_values(":user", text(user_id))
            .consistent_read(true)
            .scan_index_forward(false)
            // One more order than requested is read: it is the start of the next page.
            .limit(i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX));
        if let Some(from) = from {
            query = query
                .key_condition_expression("user_id = :user AND order_id <= :from")
                .expression_attribute_values(":from", text(from));
        }
        let mut items = query.into_paginator().items().send();
        let mut orders: Vec<Order> = Vec::new();
        while let Some(item) = items.next().await {
            let order: Order = serde_dynamo::from_item(item?)?;
            if orders.len() == limit as usize {
                let next = Some(order.order_id);
                return Ok(Page { orders, next });
            }
            orders.push(order);
        }
        Ok(Page { orders, next: None })
    }
}
