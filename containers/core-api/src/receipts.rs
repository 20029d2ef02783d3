//! The receipts of a customer's orders. The function receipt-writer writes them; core-api only links to them.

use domain::{Clock, OrderId, OrderStatus, UserId};
use dynamodb_table::DynamoDbError;
use orders::Orders;
use receipts::{ReceiptLink, ReceiptStore};

/// Links to receipts. Clones share the underlying clients.
#[derive(Clone, Debug)]
pub struct Receipts {
    orders: Orders,
    store: ReceiptStore,
    clock: Clock,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("the order does not exist")]
    OrderNotFound,
    #[error("an order with status {0} has no receipt")]
    NotCompleted(OrderStatus),
    /// The order has just completed.
    #[error("the receipt has not been written yet")]
    NotWritten,
    #[error(transparent)]
    Orders(#[from] DynamoDbError),
    #[error(transparent)]
    Store(#[from] receipts::StoreError),
}

impl Receipts {
    #[must_use]
    pub fn new(orders: Orders, store: ReceiptStore, clock: Clock) -> Self {
        Self { orders, store, clock }
    }

    /// A link to the receipt of one of the customer's orders.
    pub async fn link(&self, customer: UserId, order_id: OrderId) -> Result<ReceiptLink, ReceiptError> {
        let order = self.orders.find(customer, order_id).await?;
        let order = order.ok_or(ReceiptError::OrderNotFound)?;
        if order.status != OrderStatus::Completed {
            return Err(ReceiptError::NotCompleted(order.status));
        }
        if !self.store.contains(order_id).await? {
            return Err(ReceiptError::NotWritten);
        }
        Ok(self.store.link(order_id, self.clock.now()).await?)
    }
}
