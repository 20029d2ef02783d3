//! The destination of redriven messages.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::queue::{Message, Queue};
use super::string_at;
use crate::aws::AwsTarget;

/// The queue of orders whose compensation failed permanently.
const ORDER_PARKING_QUEUE: &str = "order-parking-queue";

/// The queue of events that could not be published.
const EVENT_PARKING_QUEUE: &str = "event-parking-queue";

const SAGA_STATE_MACHINE: &str = "order-saga";

/// The members of a parked order's state that are the input of its saga. The results of its steps are
/// dropped: the new execution runs every step again, and the steps are idempotent.
const SAGA_INPUT_FIELDS: [&str; 9] = [
    "order_id",
    "user_id",
    "currency",
    "total_amount",
    "items",
    "payment_method",
    "traceparent",
    "correlation_id",
    "causation_id",
];

/// Where the messages of a queue are sent.
#[derive(Debug)]
pub enum Destination {
    /// The queue whose dead-letter queue this is.
    SourceQueue(Queue),
    /// A new execution of the saga per order.
    Saga { arn: String },
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
            ORDER_PARKING_QUEUE => Self::Saga {
                arn: saga_arn(target)?,
            },
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
            Self::Saga { .. } => SAGA_STATE_MACHINE,
            Self::EventBus => "the event bus",
        }
    }

    /// Describes what a redrive does.
    pub fn description(&self) -> String {
        match self {
            Self::SourceQueue(queue) => format!("They return to {}.", queue.name),
            Self::Saga { .. } => format!("A new execution of {SAGA_STATE_MACHINE} starts for each order."),
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
            Self::Saga { arn } => match execution_input(arn, message) {
                Some(execution) => start_execution(target, &execution).map(|()| true),
                None => Ok(false),
            },
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

fn saga_arn(target: &AwsTarget) -> Result<String> {
    let machines = target.call("states", "ListStateMachines", &json!({}))?;
    let machines = machines["stateMachines"].as_array().into_iter().flatten();
    machines
        .filter(|machine| machine["name"] == SAGA_STATE_MACHINE)
        .find_map(|machine| string_at(machine, "/stateMachineArn"))
        .with_context(|| format!("there is no state machine {SAGA_STATE_MACHINE}"))
}

/// The input of `StartExecution` for a parked order; `None` if the message is not a parked order. The name
/// contains the message id, so that a redrive that is repeated after an interruption does not start the saga
/// twice.
fn execution_input(saga_arn: &str, message: &Message) -> Option<Value> {
    let state = message.content.get("state")?;
    let input: Option<Map<String, Value>> = SAGA_INPUT_FIELDS
        .iter()
        .map(|member| Some(((*member).to_owned(), state.get(member)?.clone())))
        .collect();
    let order_id = string_at(state, "/order_id")?;
    Some(json!({
        "stateMachineArn": saga_arn,
        "name": format!("{order_id}-{}", message.id),
        "input": Value::from(input?).to_string(),
    }))
}

fn start_execution(target: &AwsTarget, execution: &Value) -> Result<()> {
    match target.call("states", "StartExecution", execution) {
        Err(error) if !error.to_string().contains("ExecutionAlreadyExists") => Err(error),
        _ => Ok(()),
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
