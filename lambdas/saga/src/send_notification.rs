//! `send-notification`: publishes the event that tells of the order's end, and takes it out of the outbox.
//!
//! Again: an event that has left the outbox was published, and there is nothing left to do. When the bus takes
//! it and the outbox keeps it, it goes out twice under one id.

use domain::EventId;
use lambda_shared::{Handler, Init, InitError};
use orders::Orders;
use serde::Serialize;

use crate::{Announcer, State, StepError, start, state::step};

/// What was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Announcement {
    /// The event that was published now; none when there is none, or it had been published before.
    pub published: Option<EventId>,
}

/// Makes the function.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let orders = start::orders(&init).await?;
    let announcer = start::announcer(&init, &orders)?;
    Ok(step(move |state| {
        let (orders, announcer) = (orders.clone(), announcer.clone());
        async move { send_notification(&orders, &announcer, &state).await }
    }))
}

/// Does the step.
pub async fn send_notification(
    orders: &Orders,
    announcer: &Announcer,
    state: &State,
) -> Result<Announcement, StepError> {
    let nothing = Announcement { published: None };
    let Some(event_id) = event_id(orders, state).await? else {
        return Ok(nothing);
    };
    let waiting = announcer.waiting(event_id).await;
    match waiting.map_err(|error| StepError::unavailable("the outbox", error))? {
        Some(event) => {
            announcer.publish(&event).await?;
            Ok(Announcement {
                published: Some(event_id),
            })
        }
        None => Ok(nothing),
    }
}

/// The step before names the event. When its answer was lost, which is so when the refund finds the order
/// completed, the order knows it.
async fn event_id(orders: &Orders, state: &State) -> Result<Option<EventId>, StepError> {
    match state.completion.or(state.failure) {
        Some(ending) => Ok(ending.event_id),
        None => {
            let order = orders.find(state.user_id, state.order_id).await?;
            Ok(order.and_then(|order| order.final_event_id))
        }
    }
}
