//! Publishing an event right after the change that put it into the outbox.

use domain::EventId;
use event_publishing::{DynamoOutbox, Outbox, OutboxError, Publisher};
use events::OutboxEvent;

use crate::StepError;

/// Takes events from the outbox to the bus. What it leaves behind, core-api's relay sweeps seconds later.
#[derive(Clone, Debug)]
pub struct OutboxPublisher {
    outbox: DynamoOutbox,
    publisher: Publisher,
}

/// The bus did not take an event.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct EventRejected(String);

impl OutboxPublisher {
    /// From `outbox` through `publisher`.
    #[must_use]
    pub fn new(outbox: DynamoOutbox, publisher: Publisher) -> Self {
        Self { outbox, publisher }
    }

    /// An event that still waits; none when it has left.
    pub async fn find_pending(&self, event_id: EventId) -> Result<Option<OutboxEvent>, OutboxError> {
        self.outbox.find(event_id).await
    }

    /// Publishes an event and takes it out of the outbox. Fails when the bus does not take it.
    pub async fn publish(&self, event: &OutboxEvent) -> Result<(), StepError> {
        let delivery = self.publisher.publish(std::slice::from_ref(event)).await;
        if let Some(undelivered) = delivery.failed.into_iter().next() {
            return Err(StepError::unavailable(
                "the event bus",
                EventRejected(undelivered.reason),
            ));
        }
        if let Err(error) = self.outbox.remove(&delivery.sent).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                "a published event stays in the outbox and will be published once more"
            );
        }
        Ok(())
    }

    /// Publishes an event that is not worth failing for: it is safe in the outbox.
    pub(crate) async fn publish_or_log(&self, event: &OutboxEvent) {
        if let Err(error) = self.publish(event).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                detail_type = event.detail_type,
                "an event waits in the outbox"
            );
        }
    }
}
