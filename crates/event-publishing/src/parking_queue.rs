//! Parking queue: holds events that could not be published. Its depth raises an alarm.

use aws_sdk_sqs::{
    Client,
    error::{BuildError, DisplayErrorContext},
    types::MessageAttributeValue,
};
use events::OutboxEvent;
use serde_json::json;

/// The SQS queue `event-parking-queue`. The message body is a PutEvents entry, so that an operator can
/// publish it again unchanged. The message attribute `reason` holds the error of the last attempt.
#[derive(Clone, Debug)]
pub struct ParkingQueue {
    client: Client,
    name: String,
}

/// The event could not be sent to the parking queue.
#[derive(Debug, thiserror::Error)]
#[error("the event could not be sent to the parking queue: {0}")]
pub struct ParkError(String);

impl ParkingQueue {
    /// `name` is the queue's name. Its URL is resolved on every use, because parking is rare.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// Sends an event that was meant for `bus` to the queue. Duplicates are harmless: consumers deduplicate
    /// by event id.
    pub(crate) async fn park(&self, bus: &str, event: &OutboxEvent, reason: &str) -> Result<(), ParkError> {
        let attribute = |value: &str| -> Result<MessageAttributeValue, ParkError> {
            MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error: BuildError| park_error(error))
        };
        let found = self.client.get_queue_url().queue_name(&self.name).send().await;
        let url = found
            .map_err(park_error)?
            .queue_url
            .ok_or_else(|| ParkError("the response contains no queue URL".to_owned()))?;
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

/// `Time` is in Unix seconds, as in the PutEvents wire format.
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

/// SDK errors carry their details only in the source chain.
fn park_error(error: impl std::error::Error) -> ParkError {
    ParkError(DisplayErrorContext(error).to_string())
}
