//! An event as EventBridge hands it to a consumer.

use serde::Deserialize;

use crate::{Envelope, EventData};

/// What a queue or a function receives from a rule. `detail` is an object here, not text.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "D: EventData")]
pub struct EventBridgeEvent<D> {
    /// Who said it.
    pub source: String,
    /// What happened.
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// Our envelope.
    pub detail: Envelope<D>,
}

/// Why a message is not the event that it should be.
#[derive(Debug, thiserror::Error)]
pub enum EventParseError {
    /// Not JSON, or not of the event's shape.
    #[error("the message does not have the shape of {expected}")]
    Malformed {
        /// The detail type that was looked for.
        expected: &'static str,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// Another event.
    #[error("expected {expected}, received {found}")]
    UnexpectedDetailType {
        /// The detail type that was looked for.
        expected: &'static str,
        /// The detail type that came.
        found: String,
    },
    /// A version of the schema that this program does not know.
    #[error("schema version {found} of {detail_type} is not supported")]
    UnsupportedVersion {
        /// The event's detail type.
        detail_type: &'static str,
        /// The version that came.
        found: u32,
    },
}

impl<D: EventData> EventBridgeEvent<D> {
    /// Reads a message's body. Fails when it is anything but the event `D` in a version that is known.
    pub fn parse(body: &str) -> Result<Self, EventParseError> {
        let malformed = |source| EventParseError::Malformed {
            expected: D::DETAIL_TYPE,
            source,
        };
        let kind: EventHeader = serde_json::from_str(body).map_err(malformed)?;
        if kind.detail_type != D::DETAIL_TYPE {
            return Err(EventParseError::UnexpectedDetailType {
                expected: D::DETAIL_TYPE,
                found: kind.detail_type,
            });
        }
        // The version before the rest: another version's data need not have this one's shape.
        let version: VersionedEvent = serde_json::from_str(body).map_err(malformed)?;
        if version.detail.schema_version != D::SCHEMA_VERSION {
            let found = version.detail.schema_version;
            return Err(EventParseError::UnsupportedVersion {
                detail_type: D::DETAIL_TYPE,
                found,
            });
        }
        serde_json::from_str(body).map_err(malformed)
    }
}

/// Which event a message is, without reading the rest of it.
#[derive(Debug, Deserialize)]
pub struct EventHeader {
    /// The event's detail type.
    #[serde(rename = "detail-type")]
    pub detail_type: String,
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
    use domain::{OrderId, Timestamp, UserId};
    use serde_json::json;

    use super::*;
    use crate::{EventContext, TraceParent, order::OrderCancelled};

    fn cancelled() -> serde_json::Value {
        let at = Timestamp::UNIX_EPOCH;
        let data = OrderCancelled {
            order_id: OrderId::new(at),
            user_id: UserId::new(at),
            cancelled_at: at,
        };
        let cause = EventContext {
            correlation_id: data.order_id.0,
            causation_id: None,
            traceparent: TraceParent::root(at),
        };
        json!({
            "source": "core-api.orders",
            "detail-type": "OrderCancelled",
            "detail": Envelope::new(data, at, cause),
        })
    }

    #[test]
    fn reads_the_event_it_expects() {
        let event = EventBridgeEvent::<OrderCancelled>::parse(&cancelled().to_string()).unwrap();
        assert_eq!(event.detail.correlation_id, event.detail.data.order_id.0);
    }

    #[test]
    fn refuses_everything_else() {
        let parse = |value: serde_json::Value| EventBridgeEvent::<OrderCancelled>::parse(&value.to_string());

        assert!(matches!(
            EventBridgeEvent::<OrderCancelled>::parse("not JSON"),
            Err(EventParseError::Malformed { .. })
        ));
        let mut other = cancelled();
        other["detail-type"] = json!("OrderCreated");
        assert!(matches!(
            parse(other),
            Err(EventParseError::UnexpectedDetailType { .. })
        ));

        let mut newer = cancelled();
        newer["detail"]["schema_version"] = json!(2);
        newer["detail"]["data"] = json!({"of": "another shape"});
        assert!(matches!(
            parse(newer),
            Err(EventParseError::UnsupportedVersion { found: 2, .. })
        ));

        let mut text = cancelled();
        text["detail"] = json!(text["detail"].to_string());
        assert!(matches!(parse(text), Err(EventParseError::Malformed { .. })));
    }
}
