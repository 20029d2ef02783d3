//! What passes over the bus and through the queues.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use aws_sdk_eventbridge::types::Target;
use serde_json::Value;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{TestSystem, eventually, send};
use crate::consistency::EARS;

/// Set up once a run.
static EVENT_CAPTURE: OnceCell<()> = OnceCell::const_new();

impl TestSystem {
    /// Has everything on the bus kept from now on. What is kept is never received, so every test sees all.
    pub async fn capture_events(&self) {
        EVENT_CAPTURE
            .get_or_init(async || {
                let config = aws_client::sdk_config().await;
                let queue = aws_sdk_sqs::Client::new(&config)
                    .create_queue()
                    .queue_name(EARS)
                    .send()
                    .await;
                queue.expect("a queue can be made");
                let arn = format!("arn:aws:sqs:ap-northeast-1:000000000000:{EARS}");
                let bus = aws_sdk_eventbridge::Client::new(&config);
                let pattern = r#"{"source": [{"prefix": ""}]}"#;
                let rule = bus
                    .put_rule()
                    .event_bus_name("ecommerce-event-bus")
                    .name(EARS)
                    .event_pattern(pattern);
                rule.send().await.expect("a rule can be made");
                let target = Target::builder()
                    .id(EARS)
                    .arn(arn)
                    .build()
                    .expect("a target has an id and an ARN");
                let targets = bus.put_targets().event_bus_name("ecommerce-event-bus").rule(EARS);
                targets
                    .targets(target)
                    .send()
                    .await
                    .expect("the rule takes the target");
            })
            .await;
    }

    /// What was said in a business transaction: each event with its detail type, in the order in which it
    /// happened, once all of `expected` were heard.
    pub async fn wait_for_events(&self, correlation_id: Uuid, expected: &[&str]) -> Vec<Value> {
        eventually(&format!("{expected:?} on the bus"), async || {
            let mut events: Vec<Value> = self
                .queue_messages(EARS)
                .await
                .iter()
                .filter_map(|message| serde_json::from_str::<Value>(message["Body"].as_str()?).ok())
                .filter(|event| event["detail"]["correlation_id"] == correlation_id.to_string())
                .collect();
            events.sort_by_key(|event| event["detail"]["occurred_at"].as_str().map(str::to_owned));
            let all = expected
                .iter()
                .all(|kind| events.iter().any(|event| event["detail-type"] == *kind));
            all.then_some(events)
        })
        .await
    }

    /// What is in a queue, looked at without receiving it.
    pub async fn queue_messages(&self, queue: &str) -> Vec<Value> {
        let url = format!("{}/_ministack/sqs/messages", self.aws_endpoint_url);
        let answer = send(self.http.get(url).query(&[("QueueUrl", queue)]))
            .await
            .expect_status(200);
        let accounts = answer["messages"]
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

    /// Puts a message into a queue.
    pub async fn send_message(&self, queue: &str, body: &str) {
        let sqs = aws_sdk_sqs::Client::new(&aws_client::sdk_config().await);
        let url = sqs
            .get_queue_url()
            .queue_name(queue)
            .send()
            .await
            .expect("the queue is there");
        let message = sqs
            .send_message()
            .queue_url(url.queue_url().unwrap())
            .message_body(body);
        message.send().await.expect("the queue takes the message");
    }
}

/// Runs a line of shell as a developer would; its standard output, of a success.
pub async fn run_shell(folder: &Path, line: &str) -> String {
    let mut command = Command::new("sh");
    command
        .args(["-euc", line])
        .current_dir(folder)
        .stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run
        .await
        .expect("the shell is not cancelled")
        .expect("there is a shell");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{line}\n{out}\n{err}");
    out.into_owned()
}
