//! Order commands of the customer: cancel, and change the contact data and preferences of orders.

use domain::{OrderId, OrderStatus, UserId};
use dynamodb_table::DynamoDbError;
use events::{Envelope, EventContext, OutboxEvent, order::OrderCancelled};

use crate::{
    CancelError, Order, Orders, OrdersWithOutbox, SmsContact,
    store::{OrderUpdate, WriteOutcome},
};

impl OrdersWithOutbox {
    /// Cancels an order. Returns it with the event added to the outbox.
    ///
    /// An order whose payment has not been claimed is cancelled at once. If the payment waits for the
    /// customer, the order is closed to payment, and its status stays `processing` until the execution of the
    /// saga that the event starts has cancelled the payment and released the stock. A repetition returns no
    /// event until then.
    pub async fn cancel(
        &self,
        user_id: UserId,
        order_id: OrderId,
        context: EventContext,
    ) -> Result<(Order, Option<OutboxEvent>), CancelError> {
        let at = self.orders.clock.now();
        let data = OrderCancelled {
            order_id,
            user_id,
            cancelled_at: at,
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, context));
        let update = OrderUpdate::for_order(user_id, order_id)
            .transition_to(OrderStatus::Cancelled, at)
            .require_status(&[OrderStatus::Pending]);
        match self.write(update, &event).await? {
            WriteOutcome::NotFound => Err(CancelError::NotFound),
            WriteOutcome::Rejected(order) => self.cancel_waiting(*order).await,
            WriteOutcome::Applied => match self.orders.find(user_id, order_id).await? {
                Some(order) => Ok((order, Some(event))),
                None => Err(CancelError::NotFound),
            },
        }
    }
}

impl Orders {
    /// Ends the order mails about a customer's open orders, except receipts. Later orders get the preference
    /// of the account when they are placed.
    pub async fn stop_order_mails(&self, user_id: UserId) -> Result<(), DynamoDbError> {
        for order in self.list_all(user_id).await? {
            if order.status.is_final() || order.order_mails == Some(false) {
                continue;
            }
            let update = OrderUpdate::for_order(user_id, order.order_id).set("order_mails", false);
            self.write(update).await?;
        }
        Ok(())
    }

    /// Changes the telephone number of a customer's orders that have one. `None` ends the SMS about them. An
    /// order that has ended may also cause an SMS: about a refund.
    pub async fn change_phone_number(
        &self,
        user_id: UserId,
        phone_number: Option<&str>,
    ) -> Result<(), DynamoDbError> {
        for order in self.list_all(user_id).await? {
            let Some(contact) = order.sms_contact else {
                continue;
            };
            let update = OrderUpdate::for_order(user_id, order.order_id);
            let update = match phone_number {
                None => update.remove("sms_contact"),
                Some(phone_number) => {
                    let contact = SmsContact {
                        phone_number: phone_number.to_owned(),
                        ..contact
                    };
                    update.require_present("sms_contact").set("sms_contact", contact)
                }
            };
            self.write(update).await?;
        }
        Ok(())
    }
}
