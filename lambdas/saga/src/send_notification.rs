//! `send-notification`: publishes the event of the order's final status and removes it from the outbox.
//!
//! Idempotency: an event that is no longer in the outbox has been published, and the step does nothing. If
//! the removal from the outbox fails, the event is published twice with the same id.

use domain::EventId;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::{Orders, OrdersWithOutbox};
use serde::Serialize;

use crate::{OutboxPublisher, SagaState, StepError, bootstrap, state::step_handler};

/// The result of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotificationOutcome {
    /// The event that this run published. `None` when the order has no final event or it was published
    /// before.
    pub published: Option<EventId>,
}

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let OrdersWithOutbox { orders, outbox } = bootstrap::orders_with_outbox(&context).await?;
    let publisher = bootstrap::outbox_publisher(&context, &outbox)?;
    Ok(step_handler(move |state| {
        let (orders, publisher) = (orders.clone(), publisher.clone());
        async move { send_notification(&orders, &publisher, &state).await }
    }))
}

/// Publishes the order's final event unless it has been published.
pub async fn send_notification(
    orders: &Orders,
    publisher: &OutboxPublisher,
    state: &SagaState,
) -> Result<NotificationOutcome, StepError> {
    let nothing_published = NotificationOutcome { published: None };
    let Some(event_id) = final_event_id(orders, state).await? else {
        return Ok(nothing_published);
    };
    let pending = publisher.find_pending(event_id).await;
    match pending.map_err(|error| StepError::unavailable("the outbox", error))? {
        Some(event) => {
            publisher.publish(&event).await?;
            Ok(NotificationOutcome {
                published: Some(event_id),
            })
        }
        None => Ok(nothing_published),
    }
}

/// The event id that the previous step returned. If that response was lost, as when `refund-payment` finds
/// the order completed, the id is read from the order.
async fn final_event_id(orders: &Orders, state: &SagaState) -> Result<Option<EventId>, StepError> {
    match state.completion.or(state.failure) {
        Some(outcome) => Ok(outcome.event_id),
        None => {
            let order = orders.find(state.user_id, state.order_id).await?;
            Ok(order.and_then(|order| order.final_event_id))
        }
    }
}
