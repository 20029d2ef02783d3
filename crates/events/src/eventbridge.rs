//! Events in the form in which EventBridge delivers them to consumers, and how to parse them.

use serde::Deserialize;
use serde_json::Value;

use crate::{Envelope, EventData};

/// An event as a rule delivers it to a queue or a function: `detail` is an object, not JSON text.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "D: EventData")]
pub struct EventBridgeEvent<D> {
    pub source: String,
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    pub detail: Envelope<D>,
}

/// A message is not the expected event, or not in a supported version.
#[derive(Debug, thiserror::Error)]
pub enum EventParseError {
    #[error("the message is not JSON or does not match the schema of {expected}")]
    Malformed {
        expected: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("expected a {expected} event, received {found}")]
    UnexpectedDetailType { expected: &'static str, found: String },
    #[error("schema version {found} of {detail_type} is not supported")]
    UnsupportedVersion { detail_type: &'static str, found: u32 },
}

impl<D: EventData> EventBridgeEvent<D> {
    /// Parses a message body as the event `D`.
    ///
    /// # Errors
    /// When the body is malformed, is another event, or has an unsupported schema version.
    pub fn parse(body: &str) -> Result<Self, EventParseError> {
        let malformed = |source| EventParseError::Malformed {
            expected: D::DETAIL_TYPE,
            source,
        };
        let header: EventHeader = serde_json::from_str(body).map_err(malformed)?;
        if header.detail_type != D::DETAIL_TYPE {
            return Err(EventParseError::UnexpectedDetailType {
                expected: D::DETAIL_TYPE,
                found: header.detail_type,
            });
        }
        // Check the version first: the data of another version may have another shape.
        let versioned: VersionedEvent = serde_json::from_str(body).map_err(malformed)?;
        let found = versioned.detail.schema_version;
        if !(D::OLDEST_READABLE_VERSION..=D::SCHEMA_VERSION).contains(&found) {
            return Err(EventParseError::UnsupportedVersion {
                detail_type: D::DETAIL_TYPE,
                found,
            });
        }
        serde_json::from_str(body).map_err(malformed)
    }
}

/// The part of an event that identifies its type; consumers read it to choose the type to parse.
#[derive(Debug, Deserialize)]
pub struct EventHeader {
    #[serde(rename = "detail-type")]
    pub detail_type: String,
}

/// The `detail` of a message body as it was received. [`EventBridgeEvent::parse`] drops the members that this
/// version does not know.
///
/// # Errors
/// When the body is not a JSON object with a `detail`.
pub fn received_detail(body: &str) -> Result<Value, serde_json::Error> {
    #[derive(Deserialize)]
    struct ReceivedEvent {
        detail: Value,
    }
    serde_json::from_str::<ReceivedEvent>(body).map(|event| event.detail)
}

#[derive(Deserialize)]
struct VersionedEvent {
    detail: VersionedDetail,
}

#[derive(Deserialize)]
struct VersionedDetail {
    schema_version: u32,
}

#[cfg(test)]
mod tests {
    use domain::{FailureReason, OrderId, Timestamp, UserId};
    use serde_json::json;

    use super::*;
    use crate::{
        EventContext, TraceParent,
        order::{OrderCancelled, OrderFailed},
    };

    fn cancelled_event() -> Value {
        let at = Timestamp::UNIX_EPOCH;
        let data = OrderCancelled {
            order_id: OrderId::new(at),
            user_id: UserId::new(at),
            cancelled_at: at,
        };
        let context = EventContext {
            correlation_id: data.order_id.0,
            causation_id: None,
            traceparent: TraceParent::root(at),
        };
        json!({
            "source": "core-api.orders",
            "detail-type": "OrderCancelled",
            "detail": Envelope::new(data, at, context),
        })
    }

    #[test]
    fn parses_the_expected_event() {
        let event = EventBridgeEvent::<OrderCancelled>::parse(&cancelled_event().to_string()).unwrap();
        assert_eq!(event.detail.correlation_id, event.detail.data.order_id.0);
    }

    #[test]
    fn received_detail_keeps_unknown_members() {
        let mut event = cancelled_event();
        event["detail"]["data"]["unknown"] = json!(1);
        assert_eq!(received_detail(&event.to_string()).unwrap(), event["detail"]);
    }

    #[test]
    fn failed_order_of_the_first_version_is_parsed() {
        let at = Timestamp::UNIX_EPOCH;
        let data = OrderFailed {
            order_id: OrderId::new(at),
            user_id: UserId::new(at),
            reason: FailureReason::InternalError,
            failed_at: at,
        };
        let mut event = cancelled_event();
        event["detail-type"] = json!("OrderFailed");
        event["detail"]["data"] = json!(data);
        for (version, is_readable) in [(0, false), (1, true), (2, true), (3, false)] {
            event["detail"]["schema_version"] = json!(version);
            let parsed = EventBridgeEvent::<OrderFailed>::parse(&event.to_string());
            assert_eq!(parsed.is_ok(), is_readable, "version {version}");
        }
    }

    #[test]
    fn rejects_malformed_messages_other_events_and_other_versions() {
        let parse = |value: Value| EventBridgeEvent::<OrderCancelled>::parse(&value.to_string());

        assert!(matches!(
            EventBridgeEvent::<OrderCancelled>::parse("not JSON"),
            Err(EventParseError::Malformed { .. })
        ));
        let mut other = cancelled_event();
        other["detail-type"] = json!("OrderCreated");
        assert!(matches!(
            parse(other),
            Err(EventParseError::UnexpectedDetailType { .. })
        ));

        let mut newer = cancelled_event();
        newer["detail"]["schema_version"] = json!(2);
        newer["detail"]["data"] = json!({"another": "shape"});
        assert!(matches!(
            parse(newer),
            Err(EventParseError::UnsupportedVersion { found: 2, .. })
        ));

        let mut detail_as_text = cancelled_event();
        detail_as_text["detail"] = json!(detail_as_text["detail"].to_string());
        assert!(matches!(
            parse(detail_as_text),
            Err(EventParseError::Malformed { .. })
        ));
    }
}
