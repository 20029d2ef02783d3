//! Erasure of personal data from a customer's orders. Accounting data stays.

use domain::{OrderId, OrderStatus, UserId};
use dynamodb_table::DynamoDbError;

use crate::{
    Order, Orders,
    store::{OrderUpdate, WriteOutcome},
};

/// Orders per read.
const PAGE_SIZE: u32 = 100;

/// The orders were not anonymised.
#[derive(Debug, thiserror::Error)]
pub enum AnonymiseError {
    /// The order has not ended: its mails still need the address, and its payment may have to be refunded.
    #[error("order {0} is still in progress")]
    OrderInProgress(OrderId),
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}

impl Order {
    /// True if the order has no personal data except the id of the erased account.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.contact_email.is_empty() && self.payment_method.is_empty() && self.sms_contact.is_none()
    }
}

impl Orders {
    /// Returns all orders of a customer, newest first.
    pub async fn list_all(&self, user_id: UserId) -> Result<Vec<Order>, DynamoDbError> {
        let (mut orders, mut from) = (Vec::new(), None);
        loop {
            let page = self.list(user_id, PAGE_SIZE, from).await?;
            orders.extend(page.orders);
            from = page.next;
            if from.is_none() {
                return Ok(orders);
            }
        }
    }

    /// Removes the e-mail address, the telephone number and the payment method from all orders of a customer.
    /// Ids, lines and amounts stay for accounting. Fails without changes if any order is open. Idempotent.
    pub async fn anonymise(&self, user_id: UserId) -> Result<(), AnonymiseError> {
        let orders = self.list_all(user_id).await?;
        if let Some(open) = orders.iter().find(|order| !order.status.is_final()) {
            return Err(AnonymiseError::OrderInProgress(open.order_id));
        }
        for order in orders.iter().filter(|order| !order.is_anonymous()) {
            let update = OrderUpdate::for_order(user_id, order.order_id)
                .require_status(&OrderStatus::FINAL)
                .set("contact_email", "")
                .set("payment_method", "")
                .remove("sms_contact");
            match self.write(update).await? {
                // An order that DynamoDB has removed after its retention has no personal data left.
                WriteOutcome::Applied | WriteOutcome::NotFound => {}
                WriteOutcome::Rejected(order) => return Err(AnonymiseError::OrderInProgress(order.order_id)),
            }
        }
        Ok(())
    }
}
