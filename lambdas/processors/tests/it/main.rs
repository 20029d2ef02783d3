//! Integration tests of the deployed executable against the local AWS emulator at `AWS_ENDPOINT_URL`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod cancellation_mails;
mod dead_letter_archiver;
mod mail_feedback;
mod mail_services;
mod notification_sender;
mod order_events;
mod order_processor;
mod order_reconciler;
mod payment_actions;
mod receipt_writer;
mod sms_sender;
mod sms_services;
mod unsubscribe_links;

use domain::{Clock, Timestamp};
use events::{Envelope, EventContext, EventData, TraceParent};
use serde_json::{Value, json};
use uuid::Uuid;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_processors");

fn now() -> Timestamp {
    Clock::system().now()
}

/// An event as EventBridge sends it to a queue.
fn eventbridge_event<D: EventData>(data: D, correlation_id: Uuid) -> Value {
    let context = EventContext {
        correlation_id,
        causation_id: None,
        traceparent: TraceParent::root(now()),
    };
    json!({
        "version": "0",
        "source": D::SOURCE,
        "detail-type": D::DETAIL_TYPE,
        "detail": Envelope::new(data, now(), context),
    })
}

/// A Lambda SQS event. The message ids are the positions in `bodies`.
fn sqs_event(bodies: &[String]) -> Value {
    let record = |(position, body): (usize, &String)| {
        json!({
            "messageId": position.to_string(),
            "receiptHandle": "handle",
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1"},
            "messageAttributes": {},
            "md5OfBody": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:ap-northeast-1:000000000000:queue",
            "awsRegion": "ap-northeast-1",
        })
    };
    json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()})
}

/// The response to a batch in which the messages at `positions` failed.
fn batch_item_failures(positions: &[&str]) -> Value {
    let failed: Vec<Value> = positions
        .iter()
        .map(|position| json!({"itemIdentifier": position}))
        .collect();
    json!({"batchItemFailures": failed})
}
