//! What is left of a customer's orders when the customer leaves: the books' part of them.

use domain::{OrderId, OrderStatus, UserId};

use crate::{
    Order, Orders, StoreError,
    store::{OrderUpdate, WriteOutcome},
};

/// How many orders are read at once: as many as stay below the megabyte of one answer, however long they are.
const PAGE_SIZE: u32 = 10;

/// Why orders were not anonymised.
#[derive(Debug, thiserror::Error)]
pub enum AnonymiseError {
    /// It has not ended: its mail has to go somewhere, and its payment may have to go back.
    #[error("the order {0} is still open")]
    OrderInProgress(OrderId),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Order {
    /// Whether nothing in it leads to a person any more but the id of an account that is empty.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.contact_email.is_empty() && self.payment_method.is_empty()
    }
}

impl Orders {
    /// All of a customer's orders, newest first.
    pub async fn list_all(&self, user_id: UserId) -> Result<Vec<Order>, StoreError> {
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

    /// Removes the address of mail and the payment method from all of a customer's orders. Their ids, lines and
    /// amounts stay, for the books. While any of them is open, none is touched. Doing so twice changes nothing.
    pub async fn anonymise(&self, user_id: UserId) -> Result<(), AnonymiseError> {
        let orders = self.list_all(user_id).await?;
        if let Some(open) = orders.iter().find(|order| !order.status.is_final()) {
            return Err(AnonymiseError::OrderInProgress(open.order_id));
        }
        for order in orders.iter().filter(|order| !order.is_anonymous()) {
            let change = OrderUpdate::for_order(user_id, order.order_id)
                .require_status(&OrderStatus::FINAL)
                .set("contact_email", "")
                .set("payment_method", "");
            match self.try_write((user_id, order.order_id), change, None).await? {
                // What is gone by its age names nobody.
                WriteOutcome::Applied | WriteOutcome::NotFound => {}
                WriteOutcome::Rejected(order) => return Err(AnonymiseError::OrderInProgress(order.order_id)),
            }
        }
        Ok(())
    }
}
