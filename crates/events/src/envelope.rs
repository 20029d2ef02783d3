//! The envelope of every published event: identity, schema version, time, correlation and trace context.

use domain::{EventId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::TraceParent;

/// The payload of an event. Each implementor has its own schema in `events/schemas`.
pub trait EventData: Serialize + DeserializeOwned {
    /// EventBridge's `source`.
    const SOURCE: &'static str;
    /// EventBridge's `detail-type`.
    const DETAIL_TYPE: &'static str;
    /// The version of the schema that the data follows.
    const SCHEMA_VERSION: u32 = 1;
    /// The oldest version whose data this type can parse. Queues and the archive hold events of old versions.
    const OLDEST_READABLE_VERSION: u32 = Self::SCHEMA_VERSION;
}

/// The context that an event inherits: its business transaction, its cause and its trace.
#[derive(Clone, Debug)]
pub struct EventContext {
    /// Identifies the business transaction; for an order, the order's id.
    pub correlation_id: Uuid,
    /// The event or request that caused this event, if any.
    pub causation_id: Option<Uuid>,
    pub traceparent: TraceParent,
}

/// An event in the form of EventBridge's `detail`.
///
/// EventBridge assigns a new id when an event is published again, and it keeps no trace context through
/// archive and replay. The envelope carries both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "D: EventData")]
pub struct Envelope<D> {
    /// Consumers deduplicate by this id.
    pub event_id: EventId,
    pub schema_version: u32,
    pub occurred_at: Timestamp,
    /// See [`Cause::correlation_id`].
    pub correlation_id: Uuid,
    /// See [`Cause::causation_id`].
    pub causation_id: Option<Uuid>,
    /// See [`Cause::traceparent`].
    pub traceparent: TraceParent,
    pub data: D,
}

impl<D: EventData> Envelope<D> {
    /// Wraps the payload of an event that occurs at `at`.
    pub fn new(data: D, at: Timestamp, context: EventContext) -> Self {
        Self {
            event_id: EventId::new(at),
            schema_version: D::SCHEMA_VERSION,
            occurred_at: at,
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
            traceparent: context.traceparent,
            data,
        }
    }

    /// Returns the context for events that a consumer of this event publishes.
    #[must_use]
    pub fn follow_up_context(&self) -> EventContext {
        EventContext {
            correlation_id: self.correlation_id,
            causation_id: Some(self.event_id.0),
            traceparent: self.traceparent,
        }
    }
}

/// A serialised event: an outbox stores it, and the relay passes it to `PutEvents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEvent {
    pub event_id: EventId,
    /// EventBridge's `Source`.
    pub source: String,
    /// EventBridge's `DetailType`.
    pub detail_type: String,
    /// EventBridge's `Detail`: the envelope as JSON text.
    pub detail: String,
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
