//! PutEvents, with every entry's own answer looked at.

use std::slice;

use aws_sdk_eventbridge::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::put_events::{PutEventsError, PutEventsOutput},
    primitives::DateTime,
    types::PutEventsRequestEntry,
};
use domain::EventId;
use events::OutboxEvent;
use futures::{StreamExt, stream};

/// PutEvents takes at most ten entries (EventBridge quotas).
const ENTRIES_PER_CALL: usize = 10;

/// How many calls are under way at once: a sale makes events faster than one call after the other takes them.
const MAX_CONCURRENT_CALLS: usize = 8;

/// Publishes to one event bus. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Publisher {
    client: Client,
    bus: String,
}

/// What became of the events that were to be published.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Those that the bus took.
    pub sent: Vec<EventId>,
    /// Those that it did not.
    pub failed: Vec<FailedEvent>,
}

/// An event that the bus did not take.
#[derive(Debug)]
pub struct FailedEvent {
    /// The event.
    pub event_id: EventId,
    /// What the bus, or the way to it, said.
    pub reason: String,
    /// Whether the event itself is what the bus refuses, and will refuse however often it is asked.
    pub permanent: bool,
}

/// Why a whole call came to nothing.
struct CallError {
    reason: String,
    permanent: bool,
}

impl Publisher {
    /// Publishes to the bus named `bus`.
    pub fn new(client: Client, bus: impl Into<String>) -> Self {
        Self {
            client,
            bus: bus.into(),
        }
    }

    /// Publishes every event and tells of each whether the bus took it. PutEvents succeeds as a call while
    /// single entries fail, so nothing here is an error: who calls decides over what is left.
    pub async fn publish(&self, events: &[OutboxEvent]) -> Delivery {
        let calls: Vec<_> = events
            .chunks(ENTRIES_PER_CALL)
            .map(|chunk| self.publish_chunk(chunk))
            .collect();
        let mut answers = stream::iter(calls).buffered(MAX_CONCURRENT_CALLS);
        let mut delivery = Delivery::default();
        while let Some(part) = answers.next().await {
            delivery.append(part);
        }
        delivery
    }

    /// The bus's name.
    #[cfg(feature = "relay")]
    pub(crate) fn bus(&self) -> &str {
        &self.bus
    }

    async fn publish_chunk(&self, chunk: &[OutboxEvent]) -> Delivery {
        match self.put_events(chunk).await {
            Ok(delivery) => delivery,
            // One entry that is too large has the whole call refused, today and in two hours. Each by itself, it
            // takes no other with it.
            Err(refused) if refused.permanent && chunk.len() > 1 => {
                let mut delivery = Delivery::default();
                for event in chunk.iter().map(slice::from_ref) {
                    let one = self.put_events(event).await;
                    delivery.append(one.unwrap_or_else(|refused| Delivery::all_failed(event, &refused)));
                }
                delivery
            }
            Err(refused) => Delivery::all_failed(chunk, &refused),
        }
    }

    async fn put_events(&self, chunk: &[OutboxEvent]) -> Result<Delivery, CallError> {
        let entries = chunk.iter().map(|event| self.entry(event)).collect();
        let answer = self.client.put_events().set_entries(Some(entries)).send().await;
        answer
            .map(|answer| Delivery::from_response(chunk, &answer))
            .map_err(CallError::from)
    }

    fn entry(&self, event: &OutboxEvent) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(&event.source)
            .detail_type(&event.detail_type)
            .detail(&event.detail)
            // EventBridge keeps whole seconds; the exact time is in our envelope.
            .time(DateTime::from_secs(event.occurred_at.timestamp()))
            .build()
    }
}

impl From<SdkError<PutEventsError>> for CallError {
    fn from(error: SdkError<PutEventsError>) -> Self {
        let code = error.as_service_error().and_then(|error| error.meta().code());
        let too_large = error
            .raw_response()
            .is_some_and(|answer| answer.status().as_u16() == 413);
        Self {
            permanent: code == Some("ValidationException") || too_large,
            reason: DisplayErrorContext(&error).to_string(),
        }
    }
}

/// Whether an entry's error is the event's own fault. A right that is missing is not: it can be granted.
fn is_permanent(code: &str) -> bool {
    matches!(code, "InvalidArgument" | "MalformedDetail")
}

impl Delivery {
    /// Whether the bus took all of them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    fn append(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.failed.extend(other.failed);
    }

    fn all_failed(chunk: &[OutboxEvent], refused: &CallError) -> Self {
        let undelivered = |event: &OutboxEvent| FailedEvent {
            event_id: event.event_id,
            reason: refused.reason.clone(),
            permanent: refused.permanent,
        };
        Self {
            sent: Vec::new(),
            failed: chunk.iter().map(undelivered).collect(),
        }
    }

    /// The answer's entries stand in the request's order.
    fn from_response(chunk: &[OutboxEvent], answer: &PutEventsOutput) -> Self {
        let mut delivery = Self::default();
        for (index, event) in chunk.iter().enumerate() {
            match answer.entries().get(index) {
                Some(entry) if entry.error_code().is_none() => delivery.sent.push(event.event_id),
                entry => {
                    let reason = entry.and_then(|entry| entry.error_code()).unwrap_or("no answer");
                    delivery.failed.push(FailedEvent {
                        event_id: event.event_id,
                        reason: reason.to_owned(),
                        permanent: is_permanent(reason),
                    });
                }
            }
        }
        delivery
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_eventbridge::types::PutEventsResultEntry;
    use domain::Timestamp;

    use super::*;

    fn outgoing() -> OutboxEvent {
        let at = Timestamp::UNIX_EPOCH;
        OutboxEvent {
            event_id: EventId::new(at),
            source: String::new(),
            detail_type: String::new(),
            detail: String::new(),
            occurred_at: at,
        }
    }

    #[test]
    fn an_entry_that_failed_in_a_call_that_succeeded_counts_as_failed() {
        let events = [outgoing(), outgoing(), outgoing(), outgoing()];
        let answer = PutEventsOutput::builder()
            .failed_entry_count(2)
            .entries(PutEventsResultEntry::builder().event_id("1").build())
            .entries(
                PutEventsResultEntry::builder()
                    .error_code("ThrottlingException")
                    .build(),
            )
            .entries(
                PutEventsResultEntry::builder()
                    .error_code("MalformedDetail")
                    .build(),
            )
            .build();
        let delivery = Delivery::from_response(&events, &answer);

        assert_eq!(delivery.sent, [events[0].event_id]);
        let failed: Vec<_> = delivery
            .failed
            .iter()
            .map(|event| (event.event_id, event.reason.as_str(), event.permanent))
            .collect();
        assert_eq!(
            failed,
            [
                (events[1].event_id, "ThrottlingException", false),
                (events[2].event_id, "MalformedDetail", true),
                (events[3].event_id, "no answer", false)
            ]
        );
    }
}
