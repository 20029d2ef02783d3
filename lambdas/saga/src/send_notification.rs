//! `send-notification`: publishes the event that tells of the order's end, and takes it out of the outbox.
//!
//! Again: an event that has left the outbox was published, and there is nothing left to do. When the bus takes
//! it and the outbox keeps it, it goes out twice under one id.

use domain::EventId;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::Orders;
use serde::Serialize;

use crate::{OutboxPublisher, SagaState, StepError, bootstrap, state::step_handler};

/// What was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotificationOutcome {
    /// The event that was published now; none when there is none, or it had been published before.
    pub published: Option<EventId>,
}

/// Makes the function.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let orders = bootstrap::order_store(&init).await?;
    let announcer = bootstrap::outbox_publisher(&init, &orders)?;
    Ok(step_handler(move |state| {
        let (orders, announcer) = (orders.clone(), announcer.clone());
        async move { send_notification(&orders, &announcer, &state).await }
    }))
}

/// Does the step.
pub async fn send_notification(
    orders: &Orders,
    announcer: &OutboxPublisher,
    state: &SagaState,
) -> Result<NotificationOutcome, StepError> {
    let nothing = NotificationOutcome { published: None };
    let Some(event_id) = final_event_id(orders, state).await? else {
        return Ok(nothing);
    };
    let waiting = announcer.find_pending(event_id).await;
    match waiting.map_err(|error| StepError::unavailable("the outbox", error))? {
        Some(event) => {
            announcer.publish(&event).await?;
            Ok(NotificationOutcome {
                published: Some(event_id),
            })
        }
        None => Ok(nothing),
    }
}

/// The step before names the event. When its answer was lost, which is so when the refund finds the order
/// completed, the order knows it.
async fn final_event_id(orders: &Orders, state: &SagaState) -> Result<Option<EventId>, StepError> {
    match state.completion.or(state.failure) {
        Some(ending) => Ok(ending.event_id),
        None => {
            let order = orders.find(state.user_id, state.order_id).await?;
            Ok(order.and_then(|order| order.final_event_id))
        }
    }
}
