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

/// The attribute `open` of an order that order-reconciler has parked.
const PARKED: &str = "parked";

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

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Sent,
    /// The message does not have the format that the destination needs.
    UnexpectedFormat,
    /// The message names an order that order-reconciler has not parked, or has resumed already. If the
    /// reconciler parks the order later, an operator needs the message to redrive it.
    OrderNotParked,
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

    /// Sends a message, unless it has to stay in its queue.
    ///
    /// # Errors
    /// When AWS rejects the request.
    pub fn send(&self, target: &AwsTarget, message: &Message) -> Result<Delivery> {
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
                Ok(Delivery::Sent)
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
/// change nothing, and neither does a message about an order that has ended.
fn unpark_order(target: &AwsTarget, message: &Message) -> Result<Delivery> {
    let state = message.content.get("state");
    let member = |name| state.and_then(|state| string_at(state, name));
    let (Some(user_id), Some(order_id)) = (member("/user_id"), member("/order_id")) else {
        return Ok(Delivery::UnexpectedFormat);
    };
    let key = json!({ "user_id": { "S": user_id }, "order_id": { "S": order_id } });
    let update = json!({
        "TableName": ORDERS_TABLE,
        "Key": key,
        "UpdateExpression": "REMOVE parked_at",
        "ConditionExpression": "#open = :parked",
        "ExpressionAttributeNames": { "#open": "open" },
        "ExpressionAttributeValues": { ":parked": { "S": PARKED } },
    });
    match target.call("dynamodb", "UpdateItem", &update) {
        Ok(_) => return Ok(Delivery::Sent),
        Err(error) if !error.to_string().contains("ConditionalCheckFailed") => return Err(error),
        Err(_) => {}
    }
    let read = json!({ "TableName": ORDERS_TABLE, "Key": key, "ConsistentRead": true });
    let order = target.call("dynamodb", "GetItem", &read)?;
    // An order that has ended has no such attribute, and neither does one that has expired.
    Ok(match string_at(&order, "/Item/open/S") {
        Some(_) => Delivery::OrderNotParked,
        None => Delivery::Sent,
    })
}

fn publish_event(target: &AwsTarget, entry: &Value) -> Result<Delivery> {
    if string_at(entry, "/DetailType").is_none() || string_at(entry, "/Detail").is_none() {
        return Ok(Delivery::UnexpectedFormat);
    }
    let response = target.call("events", "PutEvents", &json!({ "Entries": [entry] }))?;
    if response["FailedEntryCount"] != 0 {
        let reason = string_at(&response, "/Entries/0/ErrorMessage");
        bail!(
            "the event bus rejected an event: {}",
            reason.as_deref().unwrap_or("no reason given")
        );
    }
    Ok(Delivery::Sent)
}
