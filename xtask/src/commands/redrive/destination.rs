//! The destination of redriven messages.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::queue::{Message, Queue};
use super::string_at;
use crate::aws::AwsTarget;

/// The queue of orders whose compensation failed permanently.
const ORDER_PARKING_QUEUE: &str = "order-parking-queue";

/// The queue of events that could not be published.
const EVENT_PARKING_QUEUE: &str = "event-parking-queue";

/// The table of orders.
const ORDERS_TABLE: &str = "ecommerce-orders";

/// Where the messages of a queue are sent.
#[derive(Debug)]
pub enum Destination {
    /// The queue whose dead-letter queue this is.
    SourceQueue(Queue),
    /// order-reconciler, which restarts the saga of each order.
    Reconciler,
    /// The event bus.
    EventBus,
}

impl Destination {
    /// Finds a queue by its name, and the destination of its messages.
    ///
    /// # Errors
    /// When there is no such queue, or it is neither a dead-letter queue nor a parking queue.
    pub fn resolve(target: &AwsTarget, name: &str) -> Result<(Queue, Self)> {
        let mut queues = Queue::list(target)?;
        let Some(at) = queues.iter().position(|queue| queue.name == name) else {
            bail!(
                "there is no queue {name}; queues that can be redriven: {}",
                redrivable_queues(&queues)
            );
        };
        let queue = queues.swap_remove(at);
        let destination = match name {
            ORDER_PARKING_QUEUE => Self::Reconciler,
            EVENT_PARKING_QUEUE => Self::EventBus,
            _ => {
                let feeds = |source: &Queue| source.dead_letter_queue_arn().as_deref() == Some(queue.arn());
                let Some(source) = queues.iter().position(feeds) else {
                    queues.push(queue);
                    bail!(
                        "{name} is neither a dead-letter queue nor a parking queue; \
                         queues that can be redriven: {}",
                        redrivable_queues(&queues)
                    );
                };
                Self::SourceQueue(queues.swap_remove(source))
            }
        };
        Ok((queue, destination))
    }

    /// The name for display.
    pub fn name(&self) -> &str {
        match self {
            Self::SourceQueue(queue) => &queue.name,
            Self::Reconciler => "order-reconciler",
            Self::EventBus => "the event bus",
        }
    }

    /// Describes what a redrive does.
    pub fn description(&self) -> String {
        match self {
            Self::SourceQueue(queue) => format!("They return to {}.", queue.name),
            Self::Reconciler => "order-reconciler restarts the saga of each order within minutes.".to_owned(),
            Self::EventBus => "Each event is published to the event bus.".to_owned(),
        }
    }

    /// Sends a message; returns false if the message does not have the format that the destination needs.
    ///
    /// # Errors
    /// When AWS rejects the request.
    pub fn send(&self, target: &AwsTarget, message: &Message) -> Result<bool> {
        match self {
            Self::SourceQueue(queue) => {
                let mut input = json!({
                    "QueueUrl": queue.url, "MessageBody": message.body,
                    "MessageAttributes": message.attributes,
                });
                if message.trace_header.is_string() {
                    let trace = json!({ "DataType": "String", "StringValue": message.trace_header });
                    input["MessageSystemAttributes"] = json!({ "AWSTraceHeader": trace });
                }
                target.call("sqs", "SendMessage", &input)?;
                Ok(true)
            }
            Self::Reconciler => unpark_order(target, message),
            Self::EventBus => publish_event(target, &message.content),
        }
    }
}

/// The names of all dead-letter queues and parking queues.
fn redrivable_queues(queues: &[Queue]) -> String {
    let dead: Vec<String> = queues.iter().filter_map(Queue::dead_letter_queue_arn).collect();
    let mut names: Vec<&str> = queues
        .iter()
        .filter(|queue| {
            [ORDER_PARKING_QUEUE, EVENT_PARKING_QUEUE].contains(&queue.name.as_str())
                || dead.iter().any(|arn| arn == queue.arn())
        })
        .map(|queue| queue.name.as_str())
        .collect();
    names.sort_unstable();
    names.join(", ")
}

/// Tells order-reconciler to resume a parked order, by removing the time at which it was parked. Repetitions
/// change nothing, and so does a message about an order that has ended.
fn unpark_order(target: &AwsTarget, message: &Message) -> Result<bool> {
    let state = message.content.get("state");
    let key = |name| state.and_then(|state| string_at(state, name));
    let (Some(user_id), Some(order_id)) = (key("/user_id"), key("/order_id")) else {
        return Ok(false);
    };
    let update = json!({
        "TableName": ORDERS_TABLE,
        "Key": { "user_id": { "S": user_id }, "order_id": { "S": order_id } },
        "UpdateExpression": "REMOVE parked_at",
        "ConditionExpression": "attribute_exists(#open)",
        "ExpressionAttributeNames": { "#open": "open" },
    });
    match target.call("dynamodb", "UpdateItem", &update) {
        Err(error) if !error.to_string().contains("ConditionalCheckFailed") => Err(error),
        _ => Ok(true),
    }
}

fn publish_event(target: &AwsTarget, entry: &Value) -> Result<bool> {
    if string_at(entry, "/DetailType").is_none() || string_at(entry, "/Detail").is_none() {
        return Ok(false);
    }
    let response = target.call("events", "PutEvents", &json!({ "Entries": [entry] }))?;
    if response["FailedEntryCount"] != 0 {
        let reason = string_at(&response, "/Entries/0/ErrorMessage");
        bail!(
            "the event bus rejected an event: {}",
            reason.as_deref().unwrap_or("no reason given")
        );
    }
    Ok(true)
}
