//! The envelope: what every event says about itself, whatever it is about.

use domain::{EventId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::TraceParent;

/// What an event is about. Each implementor has a schema of its own in `events/schemas`.
pub trait EventData: Serialize + DeserializeOwned {
    /// Who says it: EventBridge's `source`.
    const SOURCE: &'static str;
    /// What happened: EventBridge's `detail-type`.
    const DETAIL_TYPE: &'static str;
    /// The version of the schema that the data follows.
    const SCHEMA_VERSION: u32 = 1;
}

/// Why an event comes about: the business transaction it belongs to and what led to it.
#[derive(Clone, Debug)]
pub struct EventContext {
    /// The same for everything that one business transaction brings about; for an order, the order's id.
    pub correlation_id: Uuid,
    /// The event or request that led to this one, where there is one.
    pub causation_id: Option<Uuid>,
    /// The trace that it belongs to.
    pub traceparent: TraceParent,
}

/// An event as it stands in EventBridge's `detail`.
///
/// EventBridge's own id does not survive a second publishing and it carries no trace through archive and
/// replay, so both travel here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "D: EventData")]
pub struct Envelope<D> {
    /// The event's identity, by which consumers recognise a second delivery.
    pub event_id: EventId,
    /// The version of `data`'s schema.
    pub schema_version: u32,
    /// When it happened, in UTC.
    pub occurred_at: Timestamp,
    /// See [`Cause::correlation_id`].
    pub correlation_id: Uuid,
    /// See [`Cause::causation_id`].
    pub causation_id: Option<Uuid>,
    /// See [`Cause::traceparent`].
    pub traceparent: TraceParent,
    /// What happened.
    pub data: D,
}

impl<D: EventData> Envelope<D> {
    /// An event that happens at `at`.
    pub fn new(data: D, at: Timestamp, cause: EventContext) -> Self {
        Self {
            event_id: EventId::new(at),
            schema_version: D::SCHEMA_VERSION,
            occurred_at: at,
            correlation_id: cause.correlation_id,
            causation_id: cause.causation_id,
            traceparent: cause.traceparent,
            data,
        }
    }

    /// The cause of whatever a consumer does because of this event.
    #[must_use]
    pub fn follow_up_context(&self) -> EventContext {
        EventContext {
            correlation_id: self.correlation_id,
            causation_id: Some(self.event_id.0),
            traceparent: self.traceparent,
        }
    }
}

/// An event made ready to leave: what an outbox keeps and PutEvents takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEvent {
    /// The event's identity.
    pub event_id: EventId,
    /// EventBridge's `Source`.
    pub source: String,
    /// EventBridge's `DetailType`.
    pub detail_type: String,
    /// EventBridge's `Detail`: the envelope as JSON text.
    pub detail: String,
    /// When it happened.
    pub occurred_at: Timestamp,
}

impl<D: EventData> From<&Envelope<D>> for OutboxEvent {
    fn from(event: &Envelope<D>) -> Self {
        Self {
            event_id: event.event_id,
            source: D::SOURCE.to_owned(),
            detail_type: D::DETAIL_TYPE.to_owned(),
            detail: serde_json::to_string(event).expect("an event has string keys and finite numbers only"),
            occurred_at: event.occurred_at,
        }
    }
}
