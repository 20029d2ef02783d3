//! Receives all events of the event bus while the command follows an order, through a temporary rule and
//! queue.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use super::timeline::{Severity, StepKind, TimelineStep, parse_timestamp_ms};
use crate::aws;
use crate::environment::Addresses;

const BUS: &str = "ecommerce-event-bus";

/// The prefix of the names of all taps.
const TAP_NAME_PREFIX: &str = "xtask-order-";

/// Matches every event, because every event has a source.
const MATCH_ALL_PATTERN: &str = r#"{"source":[{"prefix":""}]}"#;

/// A temporary rule with its queue; both are deleted on drop.
#[derive(Debug)]
pub struct EventTap<'a> {
    addresses: &'a Addresses,
    name: String,
    queue_url: String,
    rules: Vec<Rule>,
    /// Detail type → names of the targets to which the rules send such an event.
    targets_by_detail_type: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    pattern: String,
}

impl<'a> EventTap<'a> {
    /// Creates the rule and the queue.
    ///
    /// # Errors
    /// When the local AWS rejects a request.
    pub fn open(addresses: &'a Addresses) -> Result<Self> {
        let rules = call_events(addresses, "ListRules", &json!({ "EventBusName": BUS }))?;
        let rules = rules["Rules"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Rule::from_json)
            // Excludes the taps of other `cargo xtask order` commands.
            .filter(|rule| !rule.name.starts_with(TAP_NAME_PREFIX))
            .collect();
        let name = format!("{TAP_NAME_PREFIX}{}", Uuid::new_v4());
        let queue = call_sqs(addresses, "CreateQueue", &json!({ "QueueName": name }))?;
        let queue_url = queue["QueueUrl"]
            .as_str()
            .context("the local AWS created a queue but returned no QueueUrl")?
            .to_owned();
        let tap = Self {
            addresses,
            name,
            queue_url,
            rules,
            targets_by_detail_type: BTreeMap::new(),
        };
        let input = json!({ "QueueUrl": tap.queue_url, "AttributeNames": ["QueueArn"] });
        let arn = call_sqs(addresses, "GetQueueAttributes", &input)?["Attributes"]["QueueArn"].clone();
        call_events(
            addresses,
            "PutRule",
            &json!({ "Name": tap.name, "EventBusName": BUS, "EventPattern": MATCH_ALL_PATTERN }),
        )?;
        let targets = json!([{ "Id": "tap", "Arn": arn }]);
        call_events(
            addresses,
            "PutTargets",
            &json!({ "Rule": tap.name, "EventBusName": BUS, "Targets": targets }),
        )?;
        Ok(tap)
    }

    /// Returns the steps since the last poll: each event of the order, and each target to which a rule sent
    /// the event.
    ///
    /// # Errors
    /// When the local AWS does not respond, or a message is not an event.
    pub fn poll(&mut self, order_id: &str) -> Result<Vec<TimelineStep>> {
        let input = json!({
            "QueueUrl": self.queue_url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 3600,
            "AttributeNames": ["SentTimestamp"],
        });
        let received = call_sqs(self.addresses, "ReceiveMessage", &input)?;
        let mut steps = Vec::new();
        for message in received["Messages"].as_array().into_iter().flatten() {
            let body = message["Body"].as_str().context("a message has no body")?;
            let event: Value = serde_json::from_str(body).context("a message is not an event")?;
            if event["detail"]["correlation_id"] == order_id {
                let sent_at = message["Attributes"]["SentTimestamp"]
                    .as_str()
                    .and_then(|text| text.parse().ok());
                self.push_steps(&event, sent_at, &mut steps)?;
            }
        }
        Ok(steps)
    }

    fn push_steps(
        &mut self,
        event: &Value,
        sent_at: Option<i64>,
        steps: &mut Vec<TimelineStep>,
    ) -> Result<()> {
        let text = |key: &str| {
            event[key]
                .as_str()
                .with_context(|| format!("an event has no {key}"))
        };
        let (detail_type, source) = (text("detail-type")?, text("source")?);
        let occurred_at = parse_timestamp_ms(&event["detail"]["occurred_at"])
            .with_context(|| format!("an event {detail_type} has no valid occurred_at"))?;
        steps.push(TimelineStep::new(
            occurred_at,
            StepKind::Event,
            detail_type,
            format!("from {source}"),
            Severity::Info,
        ));
        // The rules send an event to all targets at the same time, so the other targets received it when we
        // did. The clocks of the service and the local AWS may differ by a millisecond, hence the maximum.
        let sent_at = sent_at.unwrap_or(occurred_at).max(occurred_at);
        for target in self.find_targets(detail_type, event)? {
            steps.push(TimelineStep::new(
                sent_at,
                StepKind::Queue,
                &target,
                format!("received {detail_type}"),
                Severity::Info,
            ));
        }
        Ok(())
    }

    /// The names of the targets of the system's rules that match the event. EventBridge itself evaluates the
    /// patterns.
    fn find_targets(&mut self, detail_type: &str, event: &Value) -> Result<Vec<String>> {
        if let Some(names) = self.targets_by_detail_type.get(detail_type) {
            return Ok(names.clone());
        }
        let mut names = Vec::new();
        for rule in &self.rules {
            let input = json!({ "EventPattern": rule.pattern, "Event": event.to_string() });
            if call_events(self.addresses, "TestEventPattern", &input)?["Result"] != true {
                continue;
            }
            let input = json!({ "Rule": rule.name, "EventBusName": BUS });
            let targets = call_events(self.addresses, "ListTargetsByRule", &input)?;
            let arns = targets["Targets"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|target| target["Arn"].as_str());
            names.extend(arns.filter_map(|arn| Some(arn.rsplit(':').next()?.to_owned())));
        }
        self.targets_by_detail_type
            .insert(detail_type.to_owned(), names.clone());
        Ok(names)
    }
}

impl Drop for EventTap<'_> {
    /// Ignores errors, because they would hide the result of the order; `cargo xtask up --fresh` removes what
    /// remains.
    fn drop(&mut self) {
        let targets = json!({ "Rule": self.name, "EventBusName": BUS, "Ids": ["tap"] });
        let _ = call_events(self.addresses, "RemoveTargets", &targets);
        let _ = call_events(
            self.addresses,
            "DeleteRule",
            &json!({ "Name": self.name, "EventBusName": BUS }),
        );
        let _ = call_sqs(
            self.addresses,
            "DeleteQueue",
            &json!({ "QueueUrl": self.queue_url }),
        );
    }
}

impl Rule {
    /// `None` for a rule without a pattern, which is a schedule and receives no events.
    fn from_json(rule: &Value) -> Option<Self> {
        let text = |key: &str| rule[key].as_str().map(str::to_owned);
        Some(Self {
            name: text("Name")?,
            pattern: text("EventPattern")?,
        })
    }
}

fn call_events(addresses: &Addresses, operation: &str, input: &Value) -> Result<Value> {
    aws::call_local(addresses, "events", &format!("AWSEvents.{operation}"), input)
}

fn call_sqs(addresses: &Addresses, operation: &str, input: &Value) -> Result<Value> {
    aws::call_local(addresses, "sqs", &format!("AmazonSQS.{operation}"), input)
}
