//! What the saga does with an order. Every method may be called again, at once or much later, by a function
//! whose first answer was lost, and then tells the same or refuses.

use domain::{EventId, FailureReason, Money, OrderId, OrderStatus, PaymentId, UserId};
use events::{
    Envelope, EventContext, OutboxEvent,
    order::{OrderCompleted, OrderFailed},
    payment::{PaymentProcessed, PaymentRefunded},
};

use crate::{
    ClaimError, CloseError, CompleteError, FailError, Order, Orders, Payment, StoreError,
    store::{OrderUpdate, WriteOutcome},
};

impl Orders {
    /// Claims an order for the payment `payment_id`, which the provider knows and has not taken yet. From
    /// here on the customer cannot cancel. An order has one payment: the first that claimed it, and that is
    /// what everybody is given who claims it later.
    pub async fn claim_for_payment(
        &self,
        user_id: UserId,
        order_id: OrderId,
        payment_id: &PaymentId,
    ) -> Result<PaymentId, ClaimError> {
        let change = OrderUpdate::for_order(user_id, order_id)
            .transition_to(OrderStatus::Processing, self.clock.now())
            .require_eq("payment_closed", false)
            .set("payment_id", payment_id)
            .set("payment", Payment::Claimed);
        match self.try_write((user_id, order_id), change, None).await? {
            WriteOutcome::Applied => Ok(payment_id.clone()),
            WriteOutcome::NotFound => Err(ClaimError::NotFound),
            WriteOutcome::Rejected(order) => match *order {
                Order {
                    status: OrderStatus::Processing,
                    payment_closed: false,
                    payment_id: Some(first),
                    ..
                } => Ok(first),
                Order {
                    status: OrderStatus::Cancelled,
                    ..
                } => Err(ClaimError::Cancelled),
                _ => Err(ClaimError::Closed),
            },
        }
    }

    /// Records that the claimed payment was taken. Gives the event that tells of it, which waits in the
    /// outbox; none when it had been recorded before. Refused once the order has failed, because by then
    /// compensation has cancelled the payment or given it back: nobody would look at the money again.
    pub async fn record_payment(
        &self,
        user_id: UserId,
        order_id: OrderId,
        payment_id: &PaymentId,
        amount: Money,
        cause: &EventContext,
    ) -> Result<Option<OutboxEvent>, ClaimError> {
        let at = self.clock.now();
        let data = PaymentProcessed {
            order_id,
            user_id,
            payment_id: payment_id.clone(),
            amount: amount.amount(),
            currency: amount.currency(),
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, cause.clone()));
        let change = OrderUpdate::for_order(user_id, order_id)
            .require_eq("payment_id", payment_id)
            .require_eq("payment", Payment::Claimed)
            .require_ne("status", OrderStatus::Failed)
            .set("payment", Payment::Captured)
            .set("updated_at", at);
        match self.try_write((user_id, order_id), change, Some(&event)).await? {
            WriteOutcome::Applied => Ok(Some(event)),
            WriteOutcome::NotFound => Err(ClaimError::NotFound),
            WriteOutcome::Rejected(order) if order.status == OrderStatus::Failed => Err(ClaimError::Closed),
            WriteOutcome::Rejected(_) => Ok(None),
        }
    }

    /// Closes an order to payment and completion, for good, unless it is completed. Gives the payment that
    /// was claimed before, if one was: the only one that can ever have been taken.
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
        let change = OrderUpdate::for_order(user_id, order_id)
            .require_status(&not_completed)
            .set("payment_closed", true);
        match self.try_write((user_id, order_id), change, None).await? {
            WriteOutcome::Rejected(_) => Err(CloseError::Completed),
            WriteOutcome::NotFound => Err(CloseError::NotFound),
            // Read after the write: whoever claimed did so before the close, and nobody can after it.
            WriteOutcome::Applied => match self.find(user_id, order_id).await? {
                Some(order) => Ok(order.payment_id),
                None => Err(CloseError::NotFound),
            },
        }
    }

    /// Records that the payment was given back. Gives the event that tells of it, which waits in the outbox;
    /// none when it had been recorded before.
    pub async fn record_refund(
        &self,
        user_id: UserId,
        order_id: OrderId,
        payment_id: &PaymentId,
        amount: Money,
        cause: &EventContext,
    ) -> Result<Option<OutboxEvent>, StoreError> {
        let at = self.clock.now();
        let data = PaymentRefunded {
            order_id,
            user_id,
            payment_id: payment_id.clone(),
            amount: amount.amount(),
            currency: amount.currency(),
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, cause.clone()));
        let change = OrderUpdate::for_order(user_id, order_id)
            .require_eq("payment_id", payment_id)
            .require_eq("payment_closed", true)
            .require_ne("payment", Payment::Refunded)
            .set("payment", Payment::Refunded)
            .set("updated_at", at);
        match self.try_write((user_id, order_id), change, Some(&event)).await? {
            WriteOutcome::Applied => Ok(Some(event)),
            WriteOutcome::Rejected(_) | WriteOutcome::NotFound => Ok(None),
        }
    }

    /// Completes an order. Gives the event that tells of it, which waits in the outbox.
    pub async fn complete(
        &self,
        user_id: UserId,
        order_id: OrderId,
        total: Money,
        cause: &EventContext,
    ) -> Result<EventId, CompleteError> {
        let at = self.clock.now();
        let data = OrderCompleted {
            order_id,
            user_id,
            currency: total.currency(),
            total_amount: total.amount(),
            completed_at: at,
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, cause.clone()));
        let change = OrderUpdate::for_order(user_id, order_id)
            .transition_to(OrderStatus::Completed, at)
            .require_eq("payment_closed", false)
            .set("final_event_id", event.event_id);
        match self.try_write((user_id, order_id), change, Some(&event)).await? {
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

    /// Marks an order failed, unless its payment is taken and not given back. Gives the event that tells of
    /// it, which waits in the outbox; none when its customer had cancelled it, because then it stays cancelled.
    pub async fn fail(
        &self,
        user_id: UserId,
        order_id: OrderId,
        reason: FailureReason,
        cause: &EventContext,
    ) -> Result<Option<EventId>, FailError> {
        let at = self.clock.now();
        let data = OrderFailed {
            order_id,
            user_id,
            reason,
            failed_at: at,
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, cause.clone()));
        let change = OrderUpdate::for_order(user_id, order_id)
            .transition_to(OrderStatus::Failed, at)
            .require_ne("payment", Payment::Captured)
            .set("reason", reason)
            .set("payment_closed", true)
            .set("final_event_id", event.event_id);
        match self.try_write((user_id, order_id), change, Some(&event)).await? {
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
