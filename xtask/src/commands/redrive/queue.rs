//! A queue that messages are taken out of.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::string_at;
use crate::aws::AwsTarget;
use crate::supervisor::unix_millis;

/// How long a message that is being passed on is hidden from others, in seconds.
const VISIBILITY_TIMEOUT_SECONDS: u32 = 120;

/// A queue of SQS.
#[derive(Debug)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// What it tells of itself.
    pub attributes: Value,
}

/// A message as it was received.
#[derive(Debug)]
pub struct Message {
    /// SQS's id of it.
    pub id: String,
    /// What was sent.
    pub body: String,
    /// When it was first sent, in milliseconds since 1970.
    pub sent_at: i64,
    /// How often it has been received.
    pub receive_count: u32,
    /// The sender's attributes, as SQS takes them again.
    pub attributes: Value,
    /// The sender's trace, likewise; null where there is none.
    pub trace_header: Value,
    /// The body as JSON, without what SNS puts around it; null when it is none.
    pub content: Value,
    receipt_handle: String,
}

impl Queue {
    /// Every queue there is.
    ///
    /// # Errors
    /// When AWS refuses.
    pub fn list(cloud: &AwsTarget) -> Result<Vec<Self>> {
        let mut queues = Vec::new();
        let mut input = json!({ "MaxResults": 1000 });
        loop {
            let page = cloud.call("sqs", "ListQueues", &input)?;
            for url in page["QueueUrls"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                let name = url.rsplit('/').next().unwrap_or(url).to_owned();
                let asked = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
                let mut answer = cloud.call("sqs", "GetQueueAttributes", &asked)?;
                let attributes = answer["Attributes"].take();
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

    /// Its ARN.
    pub fn arn(&self) -> &str {
        self.attributes["QueueArn"].as_str().unwrap_or_default()
    }

    /// The ARN of the queue that takes what fails here too often.
    pub fn dead_letter_queue_arn(&self) -> Option<String> {
        let policy: Value = serde_json::from_str(self.attributes["RedrivePolicy"].as_str()?).ok()?;
        string_at(&policy, "/deadLetterTargetArn")
    }

    /// How many messages lie in it, about: SQS itself knows no better.
    ///
    /// # Errors
    /// When AWS refuses.
    pub fn depth(&self, cloud: &AwsTarget) -> Result<usize> {
        let name = "ApproximateNumberOfMessages";
        let asked = json!({ "QueueUrl": self.url, "AttributeNames": [name] });
        let answer = cloud.call("sqs", "GetQueueAttributes", &asked)?;
        let depth = answer["Attributes"][name]
            .as_str()
            .context("a queue without a depth")?;
        Ok(depth.parse()?)
    }

    /// Some of the messages, which stay visible to everybody.
    ///
    /// # Errors
    /// When AWS refuses.
    pub fn peek(&self, cloud: &AwsTarget) -> Result<Vec<Message>> {
        self.receive_with_timeout(cloud, 10, 0)
    }

    /// Takes up to `count` messages, which nobody else sees for a while.
    ///
    /// # Errors
    /// When AWS refuses.
    pub fn receive(&self, cloud: &AwsTarget, count: u32) -> Result<Vec<Message>> {
        self.receive_with_timeout(cloud, count, VISIBILITY_TIMEOUT_SECONDS)
    }

    fn receive_with_timeout(&self, cloud: &AwsTarget, count: u32, hidden: u32) -> Result<Vec<Message>> {
        let input = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": count, "VisibilityTimeout": hidden,
            // Asks all of the queue's servers, and not a sample of them.
            "WaitTimeSeconds": 1,
            "AttributeNames": ["All"], "MessageAttributeNames": ["All"],
        });
        let answer = cloud.call("sqs", "ReceiveMessage", &input)?;
        let received = answer["Messages"].as_array().into_iter().flatten();
        received.map(Message::parse).collect()
    }

    /// Removes a message for good.
    ///
    /// # Errors
    /// When AWS refuses.
    pub fn delete(&self, cloud: &AwsTarget, message: &Message) -> Result<()> {
        let input = json!({ "QueueUrl": self.url, "ReceiptHandle": message.receipt_handle });
        cloud.call("sqs", "DeleteMessage", &input).map(drop)
    }

    /// Puts a message back at once. Where that fails, it comes back by itself.
    pub fn make_visible(&self, cloud: &AwsTarget, message: &Message) {
        let input =
            json!({ "QueueUrl": self.url, "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": 0 });
        let _ = cloud.call("sqs", "ChangeMessageVisibility", &input);
    }
}

impl Message {
    fn parse(message: &Value) -> Result<Self> {
        let member =
            |pointer| string_at(message, pointer).with_context(|| format!("a message without {pointer}"));
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

    /// How long ago it was first sent.
    pub fn age(&self) -> Duration {
        let now = unix_millis(SystemTime::now());
        Duration::from_millis(now.saturating_sub(u64::try_from(self.sent_at).unwrap_or_default()))
    }

    /// What it is, where it says so.
    pub fn type_name(&self) -> Option<&str> {
        let event = ["detail-type", "DetailType"]
            .iter()
            .find_map(|key| self.content.get(key)?.as_str());
        event.or_else(|| self.content.get("state").map(|_| "parked order"))
    }

    /// The order that it is about, where it is about one.
    pub fn order_id(&self) -> Option<String> {
        let detail = || serde_json::from_str::<Value>(self.content.get("Detail")?.as_str()?).ok();
        string_at(&self.content, "/order_id")
            .or_else(|| string_at(&self.content, "/detail/data/order_id"))
            .or_else(|| string_at(&detail()?, "/data/order_id"))
    }

    /// For programs.
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

/// Attributes as `SendMessage` takes them: what `ReceiveMessage` gives, without its empty lists.
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
