//! SQS queues and their messages.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::string_at;
use crate::aws::AwsTarget;
use crate::supervisor::unix_millis;

/// How long a received message is invisible to other receivers, in seconds.
const VISIBILITY_TIMEOUT_SECONDS: u32 = 120;

/// A queue of SQS.
#[derive(Debug)]
pub struct Queue {
    pub name: String,
    pub url: String,
    /// The response of `GetQueueAttributes`.
    attributes: Value,
}

/// A received message.
#[derive(Debug)]
pub struct Message {
    /// The message id of SQS.
    pub id: String,
    pub body: String,
    /// When the message was sent to this queue, in milliseconds since 1970.
    pub sent_at: u64,
    pub receive_count: u32,
    /// The message attributes, in the format of `SendMessage`.
    pub attributes: Value,
    /// The system attribute `AWSTraceHeader`, or null.
    pub trace_header: Value,
    /// The body as JSON, without the envelope of SNS; null if it is not JSON.
    pub content: Value,
    receipt_handle: String,
}

impl Queue {
    /// Lists all queues.
    ///
    /// # Errors
    /// When AWS rejects a request.
    pub fn list(target: &AwsTarget) -> Result<Vec<Self>> {
        let mut queues = Vec::new();
        let mut input = json!({ "MaxResults": 1000 });
        loop {
            let page = target.call("sqs", "ListQueues", &input)?;
            for url in page["QueueUrls"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                let name = url.rsplit('/').next().unwrap_or(url).to_owned();
                let input = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
                let mut response = target.call("sqs", "GetQueueAttributes", &input)?;
                let attributes = response["Attributes"].take();
                queues.push(Self {
                    name,
                    url: url.to_owned(),
                    attributes,
                });
            }
            match string_at(&page, "/NextToken") {
                Some(next) => input["NextToken"] = next.into(),
                None => return Ok(queues),
            }
        }
    }

    pub fn arn(&self) -> &str {
        self.attributes["QueueArn"]
            .as_str()
            .expect("SQS returns the ARN of every queue")
    }

    /// The ARN of this queue's dead-letter queue, if it has one.
    pub fn dead_letter_queue_arn(&self) -> Option<String> {
        let policy: Value = serde_json::from_str(self.attributes["RedrivePolicy"].as_str()?).ok()?;
        string_at(&policy, "/deadLetterTargetArn")
    }

    /// The approximate number of visible messages; SQS reports no exact number.
    ///
    /// # Errors
    /// When AWS rejects the request.
    pub fn depth(&self, target: &AwsTarget) -> Result<usize> {
        let name = "ApproximateNumberOfMessages";
        let input = json!({ "QueueUrl": self.url, "AttributeNames": [name] });
        let response = target.call("sqs", "GetQueueAttributes", &input)?;
        let depth = response["Attributes"][name]
            .as_str()
            .with_context(|| format!("SQS returned no {name} for {}", self.name))?;
        Ok(depth.parse()?)
    }

    /// Receives up to ten messages, which stay visible to other receivers.
    ///
    /// # Errors
    /// When AWS rejects the request.
    pub fn peek(&self, target: &AwsTarget) -> Result<Vec<Message>> {
        self.receive_with_timeout(target, 10, 0)
    }

    /// Receives up to `count` messages, which become invisible to other receivers for
    /// [`VISIBILITY_TIMEOUT_SECONDS`].
    ///
    /// # Errors
    /// When AWS rejects the request.
    pub fn receive(&self, target: &AwsTarget, count: u32) -> Result<Vec<Message>> {
        self.receive_with_timeout(target, count, VISIBILITY_TIMEOUT_SECONDS)
    }

    fn receive_with_timeout(&self, target: &AwsTarget, count: u32, hidden: u32) -> Result<Vec<Message>> {
        let input = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": count, "VisibilityTimeout": hidden,
            // Long polling queries all servers of the queue instead of a sample of them.
            "WaitTimeSeconds": 1,
            "AttributeNames": ["All"], "MessageAttributeNames": ["All"],
        });
        let response = target.call("sqs", "ReceiveMessage", &input)?;
        let received = response["Messages"].as_array().into_iter().flatten();
        received.map(Message::parse).collect()
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// When AWS rejects the request.
    pub fn delete(&self, target: &AwsTarget, message: &Message) -> Result<()> {
        let input = json!({ "QueueUrl": self.url, "ReceiptHandle": message.receipt_handle });
        target.call("sqs", "DeleteMessage", &input).map(drop)
    }

    /// Makes a received message visible again. Ignores errors, because the message becomes visible anyway
    /// when its visibility timeout has elapsed.
    pub fn make_visible(&self, target: &AwsTarget, message: &Message) {
        let input =
            json!({ "QueueUrl": self.url, "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": 0 });
        let _ = target.call("sqs", "ChangeMessageVisibility", &input);
    }
}

impl Message {
    fn parse(message: &Value) -> Result<Self> {
        let member = |pointer| {
            string_at(message, pointer).with_context(|| format!("SQS returned a message without {pointer}"))
        };
        let body = member("/Body")?;
        Ok(Self {
            id: member("/MessageId")?,
            receipt_handle: member("/ReceiptHandle")?,
            sent_at: member("/Attributes/SentTimestamp")?.parse()?,
            receive_count: member("/Attributes/ApproximateReceiveCount")?.parse()?,
            attributes: sendable_attributes(&message["MessageAttributes"]),
            trace_header: message["Attributes"]["AWSTraceHeader"].clone(),
            content: parse_content(&body),
            body,
        })
    }

    /// The time since the message was sent to this queue.
    pub fn age(&self) -> Duration {
        let now = unix_millis(SystemTime::now());
        Duration::from_millis(now.saturating_sub(self.sent_at))
    }

    /// The detail type of an event, or "parked order"; `None` for other messages.
    pub fn type_name(&self) -> Option<&str> {
        let event = ["detail-type", "DetailType"]
            .iter()
            .find_map(|key| self.content.get(key)?.as_str());
        event.or_else(|| self.content.get("state").map(|_| "parked order"))
    }

    /// The id of the order that the message refers to, if it refers to one.
    pub fn order_id(&self) -> Option<String> {
        let detail = || serde_json::from_str::<Value>(self.content.get("Detail")?.as_str()?).ok();
        string_at(&self.content, "/order_id")
            .or_else(|| string_at(&self.content, "/detail/data/order_id"))
            .or_else(|| string_at(&detail()?, "/data/order_id"))
    }

    /// The message as JSON, for the report.
    pub fn to_json(&self) -> Value {
        json!({
            "message_id": self.id,
            "age_seconds": self.age().as_secs(),
            "type": self.type_name(),
            "order_id": self.order_id(),
            "receive_count": self.receive_count,
        })
    }
}

fn parse_content(body: &str) -> Value {
    let content: Value = serde_json::from_str(body).unwrap_or_default();
    match string_at(&content, "/Message") {
        Some(inner) if content.get("TopicArn").is_some() => serde_json::from_str(&inner).unwrap_or_default(),
        _ => content,
    }
}

/// Converts attributes from the format of `ReceiveMessage` to that of `SendMessage`, which rejects the empty
/// lists of the former.
fn sendable_attributes(received: &Value) -> Value {
    let mut all = Map::new();
    for (name, attribute) in received.as_object().into_iter().flatten() {
        let members = attribute.as_object().into_iter().flatten();
        let kept: Map<String, Value> = members
            .filter(|(member, _)| ["DataType", "StringValue", "BinaryValue"].contains(&member.as_str()))
            .map(|(member, value)| (member.clone(), value.clone()))
            .collect();
        all.insert(name.clone(), kept.into());
    }
    all.into()
}
