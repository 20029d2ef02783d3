//! Listens on the event bus while one order is under way: a rule and a queue of our own, gone when the order is done.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use super::timeline::{Severity, StepKind, TimelineStep, parse_timestamp_ms};
use crate::aws;
use crate::environment::Addresses;

const BUS: &str = "ecommerce-event-bus";

/// What the names of all listeners begin with.
const TAP_NAME_PREFIX: &str = "xtask-order-";

/// Every event of the shop names its source.
const MATCH_ALL_PATTERN: &str = r#"{"source":[{"prefix":""}]}"#;

/// The rule and the queue of one listener.
#[derive(Debug)]
pub struct EventTap<'a> {
    addresses: &'a Addresses,
    name: String,
    queue_url: String,
    rules: Vec<Rule>,
    /// Detail type → where the bus's rules send such an event.
    targets_by_detail_type: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    pattern: String,
}

impl<'a> EventTap<'a> {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the local AWS refuses.
    pub fn open(addresses: &'a Addresses) -> Result<Self> {
        let rules = call_events(addresses, "ListRules", &json!({ "EventBusName": BUS }))?;
        let rules = rules["Rules"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Rule::from_json)
            // Somebody else who watches an order at the same moment is no part of this one's way.
            .filter(|rule| !rule.name.starts_with(TAP_NAME_PREFIX))
            .collect();
        let name = format!("{TAP_NAME_PREFIX}{}", Uuid::new_v4());
        let queue = call_sqs(addresses, "CreateQueue", &json!({ "QueueName": name }))?;
        let queue = queue["QueueUrl"]
            .as_str()
            .context("a queue without an address")?
            .to_owned();
        let tap = Self {
            addresses,
            name,
            queue_url: queue,
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

    /// What was said about an order since the last time: each event, and each place that it was sent to.
    ///
    /// # Errors
    /// When the local AWS does not answer.
    pub fn poll(&mut self, order: &str) -> Result<Vec<TimelineStep>> {
        let input = json!({
            "QueueUrl": self.queue_url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 3600, "AttributeNames": ["SentTimestamp"]
        });
        let answer = call_sqs(self.addresses, "ReceiveMessage", &input)?;
        let mut steps = Vec::new();
        for message in answer["Messages"].as_array().into_iter().flatten() {
            let event: Value = serde_json::from_str(message["Body"].as_str().unwrap_or_default())?;
            if event["detail"]["correlation_id"] == order {
                let sent = message["Attributes"]["SentTimestamp"]
                    .as_str()
                    .and_then(|text| text.parse().ok());
                self.push_steps(&event, sent, &mut steps)?;
            }
        }
        Ok(steps)
    }

    fn push_steps(&mut self, event: &Value, sent: Option<i64>, steps: &mut Vec<TimelineStep>) -> Result<()> {
        let detail_type = event["detail-type"].as_str().unwrap_or_default();
        let source = event["source"].as_str().unwrap_or_default();
        let occurred = parse_timestamp_ms(&event["detail"]["occurred_at"]).unwrap_or_default();
        steps.push(TimelineStep::new(
            occurred,
            StepKind::Event,
            detail_type,
            format!("from {source}"),
            Severity::Plain,
        ));
        // What the rules sent on arrived where it was sent to at the moment at which it arrived here.
        let sent = sent.unwrap_or(occurred).max(occurred);
        for route in self.find_targets(detail_type, event)? {
            steps.push(TimelineStep::new(
                sent,
                StepKind::Queue,
                &route,
                format!("holds {detail_type}"),
                Severity::Plain,
            ));
        }
        Ok(())
    }

    /// Where the shop's own rules send an event, as the bus itself judges their patterns.
    fn find_targets(&mut self, detail_type: &str, event: &Value) -> Result<Vec<String>> {
        if let Some(routes) = self.targets_by_detail_type.get(detail_type) {
            return Ok(routes.clone());
        }
        let mut routes = Vec::new();
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
            routes.extend(arns.filter_map(|arn| Some(arn.rsplit(':').next()?.to_owned())));
        }
        self.targets_by_detail_type
            .insert(detail_type.to_owned(), routes.clone());
        Ok(routes)
    }
}

impl Drop for EventTap<'_> {
    /// What cannot be removed is left to `cargo xtask up --fresh`; the order is more interesting than our traces.
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
    fn from_json(rule: &Value) -> Self {
        let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("Name"),
            pattern: text("EventPattern"),
        }
    }
}

fn call_events(addresses: &Addresses, operation: &str, input: &Value) -> Result<Value> {
    aws::call_local(addresses, "events", &format!("AWSEvents.{operation}"), input)
}

fn call_sqs(addresses: &Addresses, operation: &str, input: &Value) -> Result<Value> {
    aws::call_local(addresses, "sqs", &format!("AmazonSQS.{operation}"), input)
}
