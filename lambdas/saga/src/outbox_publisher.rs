//! Publishes an event from the outbox right after the change that wrote it there.

use domain::EventId;
use event_publishing::{DynamoOutbox, Outbox, OutboxError, Publisher};
use events::OutboxEvent;

use crate::StepError;

/// Publishes events from the outbox. core-api's outbox relay publishes the events that remain a few seconds
/// later.
#[derive(Clone, Debug)]
pub struct OutboxPublisher {
    outbox: DynamoOutbox,
    publisher: Publisher,
}

/// EventBridge rejected an event.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct EventRejected(String);

impl OutboxPublisher {
    /// Publishes the events in `outbox` with `publisher`.
    #[must_use]
    pub fn new(outbox: DynamoOutbox, publisher: Publisher) -> Self {
        Self { outbox, publisher }
    }

    /// The event, if it is still in the outbox. `None` means that it has been published.
    pub async fn find_pending(&self, event_id: EventId) -> Result<Option<OutboxEvent>, OutboxError> {
        self.outbox.find(event_id).await
    }

    /// Publishes an event and removes it from the outbox. Fails when EventBridge rejects it. If only the
    /// removal fails, the relay publishes the event again and consumers detect the duplicate by its id.
    pub async fn publish(&self, event: &OutboxEvent) -> Result<(), StepError> {
        let delivery = self.publisher.publish(std::slice::from_ref(event)).await;
        if let Some(rejected) = delivery.failed.into_iter().next() {
            return Err(StepError::unavailable(
                "the event bus",
                EventRejected(rejected.reason),
            ));
        }
        if let Err(error) = self.outbox.remove(&delivery.sent).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                "a published event could not be removed from the outbox: it will be published again"
            );
        }
        Ok(())
    }

    /// Publishes an event and logs a failure: the event remains in the outbox, and the relay publishes it.
    pub(crate) async fn publish_or_log(&self, event: &OutboxEvent) {
        if let Err(error) = self.publish(event).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                detail_type = event.detail_type,
                "an event could not be published and remains in the outbox"
            );
        }
    }
}
