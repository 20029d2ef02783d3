//! Where events go that the bus never took: a queue whose depth raises an alarm.

use aws_sdk_sqs::{
    Client,
    error::{BuildError, DisplayErrorContext},
    types::MessageAttributeValue,
};
use events::OutboxEvent;
use serde_json::json;

/// The queue `event-parking-queue`. A message's body is the entry as PutEvents takes it, so that it can be
/// published again as it is; why it lies here stands in the message's attribute `reason`.
#[derive(Clone, Debug)]
pub struct ParkingQueue {
    client: Client,
    name: String,
}

/// The queue did not take an event.
#[derive(Debug, thiserror::Error)]
#[error("the parking queue does not take the event: {0}")]
pub struct ParkError(String);

impl ParkingQueue {
    /// The queue named `name`. It is looked up when it is needed, which is hardly ever.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// Puts an event that was meant for `bus` into the queue. Twice is no harm: consumers know it by its id.
    pub(crate) async fn park(&self, bus: &str, event: &OutboxEvent, reason: &str) -> Result<(), ParkError> {
        let attribute = |value: &str| -> Result<MessageAttributeValue, ParkError> {
            MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error: BuildError| park_error(error))
        };
        let found = self.client.get_queue_url().queue_name(&self.name).send().await;
        let url = found.map_err(park_error)?.queue_url.unwrap_or_default();
        let sent = self
            .client
            .send_message()
            .queue_url(url)
            .message_body(message_body(bus, event))
            .message_attributes("event_id", attribute(&event.event_id.to_string())?)
            .message_attributes("reason", attribute(reason)?)
            .send()
            .await;
        sent.map(drop).map_err(park_error)
    }
}

/// The time is in seconds since 1970, as PutEvents has it on the wire.
fn message_body(bus: &str, event: &OutboxEvent) -> String {
    json!({
        "EventBusName": bus,
        "Source": event.source,
        "DetailType": event.detail_type,
        "Detail": event.detail,
        "Time": event.occurred_at.timestamp(),
    })
    .to_string()
}

/// The SDK's errors tell what happened only along their source chain.
fn park_error(error: impl std::error::Error) -> ParkError {
    ParkError(DisplayErrorContext(error).to_string())
}
