//! Payments that wait for the customer: recording the required action, and continuing the saga after it.
//!
//! While the action is awaited, no execution of the saga runs. [`OrdersWithOutbox::complete_payment_action`]
//! or [`OrdersWithOutbox::cancel`] ends the wait once, and its event starts the next execution. After a
//! completion, that execution looks at the payment, and either goes on or requests the action again. After a
//! cancellation, it finds the order closed to payment and compensates.

use chrono::TimeDelta;
use domain::{OrderId, OrderStatus, PaymentAction, PaymentId, Timestamp, UserId};
use dynamodb_table::DynamoDbError;
use events::{Envelope, OutboxEvent, order::PaymentActionCompleted};

use crate::{
    CancelError, ClaimError, Order, Orders, OrdersWithOutbox, Payment, PaymentStep,
    store::{OrderUpdate, WriteOutcome},
};

impl Order {
    /// Whether the saga waits for the customer to complete an action.
    #[must_use]
    pub fn awaits_payment_action(&self) -> bool {
        self.payment_action.is_some()
    }

    /// Whether the saga waits for the customer at this time. Afterwards the payment is cancelled.
    #[must_use]
    pub fn awaits_payment_action_at(&self, now: Timestamp) -> bool {
        self.waits_until.is_some_and(|until| now < until)
    }
}

impl Orders {
    /// Records the action that the claimed payment requires of the customer. The time for it starts with the
    /// order's first request of an action.
    ///
    /// The customer can complete an action while this call is being repeated. So the caller must look at the
    /// payment after this write: an earlier completion found no awaited action to end.
    pub async fn await_payment_action(
        &self,
        user_id: UserId,
        order_id: OrderId,
        payment_id: &PaymentId,
        action: &PaymentAction,
        time_limit: TimeDelta,
    ) -> Result<(), ClaimError> {
        let at = self.clock.now();
        let order = self.find(user_id, order_id).await?.ok_or(ClaimError::NotFound)?;
        let expires_at = order.payment_action_expires_at.unwrap_or(at + time_limit);
        if expires_at <= at {
            return Err(ClaimError::ActionExpired);
        }
        let mut update = OrderUpdate::for_order(user_id, order_id)
            .require_status(&[OrderStatus::Processing])
            .require_eq("payment_closed", false)
            .require_eq("payment_id", payment_id)
            .require_eq("payment", Payment::Claimed)
            .set("payment_action", action)
            .set("waits_until", expires_at)
            .set_if_absent("payment_action_expires_at", expires_at);
        // A repetition of this call is no new step for the customer.
        if order.payment_action.as_ref() != Some(action) {
            update = update.record_payment_step(PaymentStep::ActionRequired, at);
        }
        match self.write(update).await? {
            WriteOutcome::Applied => Ok(()),
            WriteOutcome::NotFound => Err(ClaimError::NotFound),
            // Another execution of the saga has recorded the payment: the caller finds it charged.
            WriteOutcome::Rejected(order) if !order.payment_closed => Ok(()),
            WriteOutcome::Rejected(_) => Err(ClaimError::Closed),
        }
    }
}

impl OrdersWithOutbox {
    /// Ends the wait for the customer, and counts the execution that the returned event starts. It does not
    /// count towards the order's restart limit. Returns `None` if the order does not wait, or no longer as
    /// `order` was read.
    pub async fn complete_payment_action(&self, order: &Order) -> Result<Option<OutboxEvent>, DynamoDbError> {
        let (update, event) = self.continue_saga(order, PaymentStep::ActionCompleted);
        match self.write(update, &event).await? {
            WriteOutcome::Applied => Ok(Some(event)),
            WriteOutcome::Rejected(_) | WriteOutcome::NotFound => Ok(None),
        }
    }

    /// Closes an order that waits for its customer to payment, so that its saga cancels it. Fails with
    /// `TooLate` if the order does not wait.
    pub(crate) async fn cancel_waiting(
        &self,
        mut order: Order,
    ) -> Result<(Order, Option<OutboxEvent>), CancelError> {
        // Each repetition follows a change that another caller has made.
        while order.awaits_payment_action() {
            let (update, event) = self.continue_saga(&order, PaymentStep::CancellationRequested);
            let update = update
                .set("payment_closed", true)
                .set("cancellation_requested", true);
            match self.write(update, &event).await? {
                WriteOutcome::Applied => {
                    let order = self.orders.find(order.user_id, order.order_id).await?;
                    let order = order.ok_or(CancelError::NotFound)?;
                    return Ok((order, Some(event)));
                }
                WriteOutcome::Rejected(changed) => order = *changed,
                WriteOutcome::NotFound => return Err(CancelError::NotFound),
            }
        }
        match order.status {
            OrderStatus::Processing if order.cancellation_requested => Ok((order, None)),
            status => Err(CancelError::TooLate(status)),
        }
    }

    /// The update that ends the wait for the customer with `step` and counts the next execution, and the
    /// event that starts it.
    fn continue_saga(&self, order: &Order, step: PaymentStep) -> (OrderUpdate, OutboxEvent) {
        let at = self.orders.clock.now();
        let restarts = order.restarts + 1;
        let data = PaymentActionCompleted {
            order_id: order.order_id,
            user_id: order.user_id,
            restarts,
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, order.event_context()));
        let update = OrderUpdate::for_order(order.user_id, order.order_id)
            .require_status(&OrderStatus::OPEN)
            .require_present("payment_action")
            .require_eq("restarts", order.restarts)
            .set("restarts", restarts)
            .set("restart_limit", order.restart_limit() + 1)
            .set("restarted_at", at)
            .record_payment_step(step, at)
            .end_wait();
        (update, event)
    }
}
