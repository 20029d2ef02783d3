//! Order queries. Every query names the customer, so that the orders of other customers cannot be read.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{OrderId, UserId};

use crate::{Order, Orders, Page, StoreError};

impl Orders {
    /// Returns an order of a customer (strongly consistent read).
    pub async fn find(&self, user_id: UserId, order_id: OrderId) -> Result<Option<Order>, StoreError> {
        let response = self
            .client
            .get_item()
            .table_name(&self.tables.orders)
            .key("user_id", AttributeValue::S(user_id.to_string()))
            .key("order_id", AttributeValue::S(order_id.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        Ok(response.item.map(serde_dynamo::from_item).transpose()?)
    }

    /// Returns up to `limit` orders of a customer, newest first, starting with `from`. A page of DynamoDB
    /// ends at one megabyte, which twelve of the largest orders exceed, so one call may read several pages.
    pub async fn list(&self, user_id: UserId, limit: u32, from: Option<OrderId>) -> Result<Page, StoreError> {
        let mut query = self
            .client
            .query()
            .table_name(&self.tables.orders)
            .key_condition_expression("user_id = :user")
            .expression_attribute_values(":user", AttributeValue::S(user_id.to_string()))
            .consistent_read(true)
            .scan_index_forward(false)
            // One more order than requested is read: it is the start of the next page.
            .limit(i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX));
        if let Some(from) = from {
            query = query
                .key_condition_expression("user_id = :user AND order_id <= :from")
                .expression_attribute_values(":from", AttributeValue::S(from.to_string()));
        }
        let mut items = query.into_paginator().items().send();
        let mut orders: Vec<Order> = Vec::new();
        while let Some(item) = items.next().await {
            let order: Order = serde_dynamo::from_item(item.map_err(StoreError::from_sdk)?)?;
            if orders.len() == limit as usize {
                let next = Some(order.order_id);
                return Ok(Page { orders, next });
            }
            orders.push(order);
        }
        Ok(Page { orders, next: None })
    }

    /// Readiness check: fails unless the orders table can be described.
    pub async fn check(&self) -> Result<(), StoreError> {
        let described = self
            .client
            .describe_table()
            .table_name(&self.tables.orders)
            .send()
            .await;
        described.map(|_| ()).map_err(StoreError::from_sdk)
    }
}
