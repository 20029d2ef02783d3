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

    /// Returns up to `limit` orders of a customer, newest first, starting with `from`.
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
        let response = query.send().await.map_err(StoreError::from_sdk)?;
        let mut orders: Vec<Order> = serde_dynamo::from_items(response.items.unwrap_or_default())?;
        let next = orders.get(limit as usize).map(|order| order.order_id);
        orders.truncate(limit as usize);
        Ok(Page { orders, next })
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
