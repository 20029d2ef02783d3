//! Reads the event bus and the queues of the local AWS, and runs shell commands against it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_eventbridge::types::Target;
use domain::OrderId;
use serde_json::Value;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{TestSystem, eventually, send};
use crate::consistency::EVENT_CAPTURE_QUEUE;

/// The capture queue is created once per test run.
static EVENT_CAPTURE: OnceCell<()> = OnceCell::const_new();

impl TestSystem {
    /// Captures all events on the bus from now on in a queue. Tests read the queue without receiving
    /// messages, so every test sees all events.
    pub async fn capture_events(&self) {
        EVENT_CAPTURE
            .get_or_init(async || {
                let config = aws_client::sdk_config().await;
                let queue = aws_sdk_sqs::Client::new(&config)
                    .create_queue()
                    .queue_name(EVENT_CAPTURE_QUEUE)
                    .send()
                    .await;
                queue.expect("CreateQueue must succeed");
                let arn = format!("arn:aws:sqs:ap-northeast-1:000000000000:{EVENT_CAPTURE_QUEUE}");
                let bus = aws_sdk_eventbridge::Client::new(&config);
                let pattern = r#"{"source": [{"prefix": ""}]}"#;
                let rule = bus
                    .put_rule()
                    .event_bus_name("ecommerce-event-bus")
                    .name(EVENT_CAPTURE_QUEUE)
                    .event_pattern(pattern);
                rule.send().await.expect("PutRule must succeed");
                let target = Target::builder()
                    .id(EVENT_CAPTURE_QUEUE)
                    .arn(arn)
                    .build()
                    .expect("the target has an id and an ARN");
                let targets = bus
                    .put_targets()
                    .event_bus_name("ecommerce-event-bus")
                    .rule(EVENT_CAPTURE_QUEUE);
                targets
                    .targets(target)
                    .send()
                    .await
                    .expect("PutTargets must succeed");
            })
            .await;
    }

    /// Waits until events of all `expected` detail types were captured for a correlation id. Returns all
    /// events of that id, ordered by the time at which they occurred.
    pub async fn wait_for_events(&self, correlation_id: Uuid, expected: &[&str]) -> Vec<Value> {
        eventually(&format!("{expected:?} on the bus"), async || {
            let mut events: Vec<Value> = self
                .queue_messages(EVENT_CAPTURE_QUEUE)
                .await
                .iter()
                .filter_map(|message| serde_json::from_str::<Value>(message["Body"].as_str()?).ok())
                .filter(|event| event["detail"]["correlation_id"] == correlation_id.to_string())
                .collect();
            events.sort_by_key(|event| event["detail"]["occurred_at"].as_str().map(str::to_owned));
            let is_complete = expected
                .iter()
                .all(|detail_type| events.iter().any(|event| event["detail-type"] == *detail_type));
            is_complete.then_some(events)
        })
        .await
    }

    /// Waits until these events of an order were published and notification-sender has processed them.
    /// [`Self::capture_events`] must have been called before.
    pub async fn wait_for_notifications(&self, order_id: OrderId, expected: &[&str]) {
        let events = self.wait_for_events(order_id.0, expected).await;
        let dynamo = aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await);
        let is_expected = |event: &&Value| expected.iter().any(|name| event["detail-type"] == *name);
        for event in events.iter().filter(is_expected) {
            let event_id = event["detail"]["event_id"].as_str().unwrap();
            let key = AttributeValue::S(format!("notification-sender#{event_id}"));
            eventually("the notification to be processed", async || {
                let record = dynamo
                    .get_item()
                    .table_name("ecommerce-idempotency")
                    .key("id", key.clone())
                    .consistent_read(true)
                    .send()
                    .await
                    .unwrap();
                let status = record.item?.remove("status")?;
                (status == AttributeValue::S("completed".to_owned())).then_some(())
            })
            .await;
        }
    }

    /// Reads the messages of a queue without receiving them.
    pub async fn queue_messages(&self, queue: &str) -> Vec<Value> {
        let url = format!("{}/_ministack/sqs/messages", self.aws_endpoint_url);
        let response = send(self.http.get(url).query(&[("QueueUrl", queue)]))
            .await
            .expect_status(200);
        let accounts = response["messages"]
            .as_object()
            .into_iter()
            .flat_map(|accounts| accounts.values());
        accounts
            .flat_map(|regions| regions.as_object().unwrap().values())
            .flat_map(|queues| queues.as_object().unwrap())
            .filter(|(url, _)| url.rsplit('/').next() == Some(queue))
            .flat_map(|(_, messages)| messages.as_array().unwrap().clone())
            .collect()
    }

    /// Sends a message to a queue.
    pub async fn send_message(&self, queue: &str, body: &str) {
        let sqs = aws_sdk_sqs::Client::new(&aws_client::sdk_config().await);
        let url = sqs
            .get_queue_url()
            .queue_name(queue)
            .send()
            .await
            .expect("the queue must exist");
        let message = sqs
            .send_message()
            .queue_url(url.queue_url().unwrap())
            .message_body(body);
        message.send().await.expect("SendMessage must succeed");
    }
}

/// Runs a shell command in `dir`. Returns its standard output; panics when it fails.
pub async fn run_shell(dir: &Path, line: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-euc", line]).current_dir(dir).stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run
        .await
        .expect("the blocking task is not cancelled")
        .expect("sh must be installed");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{line}\n{out}\n{err}");
    out.into_owned()
}
