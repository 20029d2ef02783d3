//! Publishes events to EventBridge and checks the result of every entry.

use std::{slice, time::Duration};

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
use tokio::time::timeout;

/// Maximum entries of a PutEvents call (EventBridge quota).
const ENTRIES_PER_CALL: usize = 10;

/// Maximum concurrent PutEvents calls: sequential calls are slower than the rate at which a flash sale emits
/// events.
const MAX_CONCURRENT_CALLS: usize = 8;

/// Time limit of a PutEvents call with its retries. EventBridge answers within milliseconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes to one event bus. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Publisher {
    client: Client,
    bus: String,
}

/// Result of publishing events.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Events that EventBridge accepted.
    pub sent: Vec<EventId>,
    pub failed: Vec<FailedEvent>,
}

/// An event that could not be published.
#[derive(Debug)]
pub struct FailedEvent {
    pub event_id: EventId,
    /// Error code of the entry, or error text of the call.
    pub reason: String,
    /// True if EventBridge rejects the event itself, so that a retry cannot succeed.
    pub permanent: bool,
}

/// Failure of a whole call.
struct CallError {
    reason: String,
    permanent: bool,
}

impl Publisher {
    /// `bus` is the event bus name.
    pub fn new(client: Client, bus: impl Into<String>) -> Self {
        Self {
            client,
            bus: bus.into(),
        }
    }

    /// Publishes the events and returns the result of each. A PutEvents call can succeed while single entries
    /// fail, so this function returns no error: the caller decides how to handle failed events.
    pub async fn publish(&self, events: &[OutboxEvent]) -> Delivery {
        let calls: Vec<_> = events
            .chunks(ENTRIES_PER_CALL)
            .map(|chunk| self.publish_chunk(chunk))
            .collect();
        let mut results = stream::iter(calls).buffered(MAX_CONCURRENT_CALLS);
        let mut delivery = Delivery::default();
        while let Some(chunk_delivery) = results.next().await {
            delivery.append(chunk_delivery);
        }
        delivery
    }

    #[cfg(feature = "relay")]
    pub(crate) fn bus(&self) -> &str {
        &self.bus
    }

    async fn publish_chunk(&self, chunk: &[OutboxEvent]) -> Delivery {
        match self.put_events(chunk).await {
            Ok(delivery) => delivery,
            // A single oversized entry makes EventBridge reject the whole call, on every retry. Sent
            // one by one, the other entries succeed.
            Err(call_error) if call_error.permanent && chunk.len() > 1 => {
                let mut delivery = Delivery::default();
                for event in chunk.iter().map(slice::from_ref) {
                    let single_delivery = self.put_events(event).await;
                    delivery.append(
                        single_delivery.unwrap_or_else(|call_error| Delivery::all_failed(event, &call_error)),
                    );
                }
                delivery
            }
            Err(call_error) => Delivery::all_failed(chunk, &call_error),
        }
    }

    async fn put_events(&self, chunk: &[OutboxEvent]) -> Result<Delivery, CallError> {
        let entries = chunk.iter().map(|event| self.entry(event)).collect();
        let call = self.client.put_events().set_entries(Some(entries)).send();
        timeout(CALL_TIMEOUT, call)
            .await
            .map_err(|_| CallError::timed_out())?
            .map(|response| Delivery::from_response(chunk, &response))
            .map_err(CallError::from)
    }

    fn entry(&self, event: &OutboxEvent) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(&event.source)
            .detail_type(&event.detail_type)
            .detail(&event.detail)
            // EventBridge stores whole seconds; the event envelope has the exact time.
            .time(DateTime::from_secs(event.occurred_at.timestamp()))
            .build()
    }
}

impl CallError {
    fn timed_out() -> Self {
        Self {
            reason: format!("EventBridge did not respond within {} s", CALL_TIMEOUT.as_secs()),
            permanent: false,
        }
    }
}

impl From<SdkError<PutEventsError>> for CallError {
    fn from(error: SdkError<PutEventsError>) -> Self {
        let code = error.as_service_error().and_then(|error| error.meta().code());
        let too_large = error
            .raw_response()
            .is_some_and(|response| response.status().as_u16() == 413);
        Self {
            permanent: code == Some("ValidationException") || too_large,
            reason: DisplayErrorContext(&error).to_string(),
        }
    }
}

/// True if the error code means that the event itself is invalid. Missing permissions are not permanent: they
/// can be granted.
fn is_permanent(code: &str) -> bool {
    matches!(code, "InvalidArgument" | "MalformedDetail")
}

impl Delivery {
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    fn append(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.failed.extend(other.failed);
    }

    fn all_failed(chunk: &[OutboxEvent], call_error: &CallError) -> Self {
        let failed_event = |event: &OutboxEvent| FailedEvent {
            event_id: event.event_id,
            reason: call_error.reason.clone(),
            permanent: call_error.permanent,
        };
        Self {
            sent: Vec::new(),
            failed: chunk.iter().map(failed_event).collect(),
        }
    }

    /// The entries of the response are in the order of the request.
    fn from_response(chunk: &[OutboxEvent], response: &PutEventsOutput) -> Self {
        let mut delivery = Self::default();
        for (index, event) in chunk.iter().enumerate() {
            match response.entries().get(index) {
                Some(entry) if entry.error_code().is_none() => delivery.sent.push(event.event_id),
                entry => {
                    let reason = entry.and_then(|entry| entry.error_code()).unwrap_or("no result");
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

    fn outbox_event() -> OutboxEvent {
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
    fn reports_failed_entries_of_a_successful_call() {
        let events = [outbox_event(), outbox_event(), outbox_event(), outbox_event()];
        let response = PutEventsOutput::builder()
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
        let delivery = Delivery::from_response(&events, &response);

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
                (events[3].event_id, "no result", false)
            ]
        );
    }
}
