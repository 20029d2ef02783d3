//! Reading orders. Who asks names the customer too, so another's order is as good as none.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{OrderId, UserId};

use crate::{Order, Orders, Page, StoreError};

impl Orders {
    /// One order of a customer, as the last write left it.
    pub async fn find(&self, user_id: UserId, order_id: OrderId) -> Result<Option<Order>, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.orders)
            .key("user_id", AttributeValue::S(user_id.to_string()))
            .key("order_id", AttributeValue::S(order_id.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        Ok(answer.item.map(serde_dynamo::from_item).transpose()?)
    }

    /// Up to `limit` of a customer's orders, newest first, from the one named by `from` on.
    pub async fn list(&self, user_id: UserId, limit: u32, from: Option<OrderId>) -> Result<Page, StoreError> {
        let mut query = self
            .client
            .query()
            .table_name(&self.tables.orders)
            .key_condition_expression("user_id = :user")
            .expression_attribute_values(":user", AttributeValue::S(user_id.to_string()))
            .consistent_read(true)
            .scan_index_forward(false)
            // One more than is shown tells whether there is another page, and where it begins.
            .limit(i32::try_from(limit).unwrap_or(i32::MAX - 1) + 1);
        if let Some(from) = from {
            query = query
                .key_condition_expression("user_id = :user AND order_id <= :from")
                .expression_attribute_values(":from", AttributeValue::S(from.to_string()));
        }
        let answer = query.send().await.map_err(StoreError::from_sdk)?;
        let mut orders: Vec<Order> = serde_dynamo::from_items(answer.items.unwrap_or_default())?;
        let next = orders.get(limit as usize).map(|order| order.order_id);
        orders.truncate(limit as usize);
        Ok(Page { orders, next })
    }

    /// Whether the table of orders answers.
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
