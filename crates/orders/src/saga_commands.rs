//! Order commands of the saga. A function whose first response was lost may repeat any of them, at once or
//! much later; the repetition returns the same result or an error.

use domain::{EventId, FailureReason, Money, OrderId, OrderStatus, PaymentId, UserId};
use dynamodb_table::DynamoDbError;
use events::{
    Envelope, EventContext, OutboxEvent,
    order::{OrderCancelled, OrderCompleted, OrderFailed},
    payment::{PaymentProcessed, PaymentRefunded},
};

use crate::{
    Claim, ClaimError, CloseError, CompleteError, FailError, Order, Orders, OrdersWithOutbox, Payment,
    PaymentStep,
    store::{OrderUpdate, WriteOutcome},
};

impl Orders {
    /// Claims an order for the payment `payment_id`, which exists at the provider and is not captured yet.
    /// From then on the customer cannot cancel. An order has one payment, the first that claimed it; later
    /// claims return that payment.
    pub async fn claim_for_payment(
        &self,
        user_id: UserId,
        order_id: OrderId,
        payment_id: &PaymentId,
    ) -> Result<Claim, ClaimError> {
        let update = OrderUpdate::for_order(user_id, order_id)
            .transition_to(OrderStatus::Processing, self.clock.now())
            .require_eq("payment_closed", false)
            .set("payment_id", payment_id)
            .set("payment", Payment::Claimed);
        match self.write(update).await? {
            WriteOutcome::Applied => Ok(Claim {
                payment_id: payment_id.clone(),
                is_repeated: false,
            }),
            WriteOutcome::NotFound => Err(ClaimError::NotFound),
            WriteOutcome::Rejected(order) => match *order {
                Order {
                    status: OrderStatus::Processing,
                    payment_closed: false,
                    payment_id: Some(first),
                    ..
                } => Ok(Claim {
                    payment_id: first,
                    is_repeated: true,
                }),
                Order {
                    status: OrderStatus::Cancelled,
                    ..
                } => Err(ClaimError::Cancelled),
                _ => Err(ClaimError::Closed),
            },
        }
    }

    /// Permanently closes an order to payment and completion, unless it is completed. Returns the payment
    /// that had claimed the order, if any: no other payment can have been captured.
    pub async fn close_to_payment(
        &self,
        user_id: UserId,
        order_id: OrderId,
    ) -> Result<Option<PaymentId>, CloseError> {
        let not_completed = [
            OrderStatus::Pending,
            OrderStatus::Processing,
            OrderStatus::Failed,
            OrderStatus::Cancelled,
        ];
        let update = OrderUpdate::for_order(user_id, order_id)
            .require_status(&not_completed)
            .set("payment_closed", true)
            .end_wait();
        match self.write(update).await? {
            WriteOutcome::Rejected(_) => Err(CloseError::Completed),
            WriteOutcome::NotFound => Err(CloseError::NotFound),
            // The read follows the write: any claim happened before the close, and none is possible after it.
            WriteOutcome::Applied => match self.find(user_id, order_id).await? {
                Some(order) => Ok(order.payment_id),
                None => Err(CloseError::NotFound),
            },
        }
    }
}

impl OrdersWithOutbox {
    /// Records that the claimed payment was captured. Returns the event added to the outbox, or `None` if the
    /// capture was already recorded. Fails once the order has failed or is cancelled, because compensation
    /// has by then cancelled or refunded the payment and would not examine it again.
    pub async fn record_payment(
        &self,
        user_id: UserId,
        order_id: OrderId,
        payment_id: &PaymentId,
        amount: Money,
        context: &EventContext,
    ) -> Result<Option<OutboxEvent>, ClaimError> {
        let at = self.orders.clock.now();
        let data = PaymentProcessed {
            order_id,
            user_id,
            payment_id: payment_id.clone(),
            amount: amount.amount(),
            currency: amount.currency(),
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, context.clone()));
        let update = OrderUpdate::for_order(user_id, order_id)
            .require_eq("payment_id", payment_id)
            .require_eq("payment", Payment::Claimed)
            .require_status(&[OrderStatus::Processing])
            .set("payment", Payment::Captured)
            .set("updated_at", at)
            .record_payment_step(PaymentStep::Captured, at)
            .end_wait();
        match self.write(update, &event).await? {
            WriteOutcome::Applied => Ok(Some(event)),
            WriteOutcome::NotFound => Err(ClaimError::NotFound),
            WriteOutcome::Rejected(order) => match order.status {
                OrderStatus::Failed | OrderStatus::Cancelled => Err(ClaimError::Closed),
                OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Completed => Ok(None),
            },
        }
    }

    /// Records that the payment was refunded, and whether the order had ended before. Returns the event added
    /// to the outbox, or `None` if the refund was already recorded.
    pub async fn record_refund(
        &self,
        user_id: UserId,
        order_id: OrderId,
        payment_id: &PaymentId,
        amount: Money,
        context: &EventContext,
    ) -> Result<Option<OutboxEvent>, DynamoDbError> {
        let at = self.orders.clock.now();
        let data = PaymentRefunded {
            order_id,
            user_id,
            payment_id: payment_id.clone(),
            amount: amount.amount(),
            currency: amount.currency(),
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, context.clone()));
        // Only one of the two writes can take effect, so the order's end cannot come between them unnoticed.
        for (statuses, after_end) in [(&OrderStatus::OPEN[..], false), (&OrderStatus::FINAL[..], true)] {
            let update = OrderUpdate::for_order(user_id, order_id)
                .require_status(statuses)
                .require_eq("payment_id", payment_id)
                .require_eq("payment_closed", true)
                .require_ne("payment", Payment::Refunded)
                .set("payment", Payment::Refunded)
                .set("refunded_after_end", after_end)
                .set("updated_at", at)
                .record_payment_step(PaymentStep::Refunded, at);
            match self.write(update, &event).await? {
                WriteOutcome::Applied => return Ok(Some(event)),
                WriteOutcome::Rejected(order) if order.status.is_final() => {}
                WriteOutcome::Rejected(_) | WriteOutcome::NotFound => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Completes an order whose payment is captured. Returns the id of the event added to the outbox.
    pub async fn complete(
        &self,
        user_id: UserId,
        order_id: OrderId,
        total: Money,
        context: &EventContext,
    ) -> Result<EventId, CompleteError> {
        let at = self.orders.clock.now();
        let data = OrderCompleted {
            order_id,
            user_id,
            currency: total.currency(),
            total_amount: total.amount(),
            completed_at: at,
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, context.clone()));
        let update = OrderUpdate::for_order(user_id, order_id)
            .transition_to(OrderStatus::Completed, at)
            .require_eq("payment_closed", false)
            .require_eq("payment", Payment::Captured)
            .set("final_event_id", event.event_id);
        match self.write(update, &event).await? {
            WriteOutcome::Applied => Ok(event.event_id),
            WriteOutcome::NotFound => Err(CompleteError::NotFound),
            WriteOutcome::Rejected(order) => match *order {
                Order {
                    status: OrderStatus::Completed,
                    final_event_id: Some(event_id),
                    ..
                } => Ok(event_id),
                Order { status, .. } => Err(CompleteError::Closed(status)),
            },
        }
    }

    /// Ends a compensated order, unless its payment is captured and not refunded: it is cancelled if its
    /// customer has requested that, and failed otherwise. Returns the id of the event added to the outbox, or
    /// `None` if the customer had cancelled the order before its payment was claimed.
    pub async fn fail(
        &self,
        user_id: UserId,
        order_id: OrderId,
        reason: FailureReason,
        context: &EventContext,
    ) -> Result<Option<EventId>, FailError> {
        let at = self.orders.clock.now();
        let order = self
            .orders
            .find(user_id, order_id)
            .await?
            .ok_or(FailError::NotFound)?;
        let update = OrderUpdate::for_order(user_id, order_id)
            .require_ne("payment", Payment::Captured)
            .set("payment_closed", true)
            .end_wait();
        // A compensation has closed the order by now, so that its customer can no longer request this.
        let (update, event) = if order.cancellation_requested {
            let data = OrderCancelled {
                order_id,
                user_id,
                cancelled_at: at,
            };
            (
                update.transition_to(OrderStatus::Cancelled, at),
                OutboxEvent::from(&Envelope::new(data, at, context.clone())),
            )
        } else {
            let data = OrderFailed {
                order_id,
                user_id,
                reason,
                failed_at: at,
            };
            (
                update
                    .transition_to(OrderStatus::Failed, at)
                    .set("reason", reason),
                OutboxEvent::from(&Envelope::new(data, at, context.clone())),
            )
        };
        let update = update.set("final_event_id", event.event_id);
        match self.write(update, &event).await? {
            WriteOutcome::Applied => Ok(Some(event.event_id)),
            WriteOutcome::NotFound => Err(FailError::NotFound),
            WriteOutcome::Rejected(order) => match order.status {
                OrderStatus::Completed => Err(FailError::Completed),
                OrderStatus::Failed | OrderStatus::Cancelled => Ok(order.final_event_id),
                OrderStatus::Pending | OrderStatus::Processing => Err(FailError::Charged),
            },
        }
    }
}
