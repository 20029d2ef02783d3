//! Where a message that was set aside belongs.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::queue::{Message, Queue};
use super::string_at;
use crate::aws::AwsTarget;

/// Orders whose compensation failed for good.
const ORDER_PARKING_QUEUE: &str = "order-parking-queue";

/// Events that could not be published.
const EVENT_PARKING_QUEUE: &str = "event-parking-queue";

const SAGA_STATE_MACHINE: &str = "order-saga";

/// The members of a parked order's state that its saga was started with. What the steps answered goes: the saga asks
/// them again, and each knows what it has done.
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

/// What is done with a queue's messages.
#[derive(Debug)]
pub enum Destination {
    /// They go back to the queue whose consumer gave up on them.
    SourceQueue(Queue),
    /// Each order's saga starts again, from its beginning.
    Saga { arn: String },
    /// Each event is published.
    EventBus,
}

impl Destination {
    /// The queue of that name, and where its messages belong.
    ///
    /// # Errors
    /// When there is no such queue, or it is none that things are set aside in.
    pub fn resolve(cloud: &AwsTarget, name: &str) -> Result<(Queue, Self)> {
        let mut queues = Queue::list(cloud)?;
        let Some(at) = queues.iter().position(|queue| queue.name == name) else {
            bail!(
                "there is no queue {name}; there are: {}",
                redrivable_queues(&queues)
            );
        };
        let queue = queues.swap_remove(at);
        let destination = match name {
            ORDER_PARKING_QUEUE => Self::Saga {
                arn: saga_arn(cloud)?,
            },
            EVENT_PARKING_QUEUE => Self::EventBus,
            _ => {
                let feeds = |source: &Queue| source.dead_letter_queue_arn().as_deref() == Some(queue.arn());
                let Some(source) = queues.iter().position(feeds) else {
                    queues.push(queue);
                    bail!(
                        "{name} is at work; messages are set aside in {}",
                        redrivable_queues(&queues)
                    );
                };
                Self::SourceQueue(queues.swap_remove(source))
            }
        };
        Ok((queue, destination))
    }

    /// What messages are sent to.
    pub fn name(&self) -> &str {
        match self {
            Self::SourceQueue(queue) => &queue.name,
            Self::Saga { .. } => SAGA_STATE_MACHINE,
            Self::EventBus => "the event bus",
        }
    }

    /// What will happen, as a sentence.
    pub fn description(&self) -> String {
        match self {
            Self::SourceQueue(queue) => format!("They go back to {}.", queue.name),
            Self::Saga { .. } => format!("Each order's {SAGA_STATE_MACHINE} starts again."),
            Self::EventBus => "Each event is published again.".to_owned(),
        }
    }

    /// Sends a message on; false when it is nothing that belongs there.
    ///
    /// # Errors
    /// When AWS refuses.
    pub fn send(&self, cloud: &AwsTarget, message: &Message) -> Result<bool> {
        match self {
            Self::SourceQueue(queue) => {
                let mut input = json!({
                    "QueueUrl": queue.url, "MessageBody": message.body, "MessageAttributes": message.attributes,
                });
                if message.trace_header.is_string() {
                    let trace = json!({ "DataType": "String", "StringValue": message.trace_header });
                    input["MessageSystemAttributes"] = json!({ "AWSTraceHeader": trace });
                }
                cloud.call("sqs", "SendMessage", &input)?;
                Ok(true)
            }
            Self::Saga { arn } => match execution_input(arn, message) {
                Some(execution) => start_execution(cloud, &execution).map(|()| true),
                None => Ok(false),
            },
            Self::EventBus => publish_event(cloud, &message.content),
        }
    }
}

/// The queues that things are set aside in.
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

fn saga_arn(cloud: &AwsTarget) -> Result<String> {
    let machines = cloud.call("states", "ListStateMachines", &json!({}))?;
    let machines = machines["stateMachines"].as_array().into_iter().flatten();
    machines
        .filter(|machine| machine["name"] == SAGA_STATE_MACHINE)
        .find_map(|machine| string_at(machine, "/stateMachineArn"))
        .with_context(|| format!("there is no state machine {SAGA_STATE_MACHINE}"))
}

/// What starts a parked order's saga; none when this is no parked order. The name is the message's, so that one that
/// was interrupted before the message was deleted is not started twice.
fn execution_input(saga: &str, message: &Message) -> Option<Value> {
    let state = message.content.get("state")?;
    let input: Option<Map<String, Value>> = SAGA_INPUT_FIELDS
        .iter()
        .map(|member| Some(((*member).to_owned(), state.get(member)?.clone())))
        .collect();
    let order_id = string_at(state, "/order_id")?;
    Some(json!({
        "stateMachineArn": saga,
        "name": format!("{order_id}-{}", message.id),
        "input": Value::from(input?).to_string(),
    }))
}

fn start_execution(cloud: &AwsTarget, execution: &Value) -> Result<()> {
    match cloud.call("states", "StartExecution", execution) {
        Err(error) if !error.to_string().contains("ExecutionAlreadyExists") => Err(error),
        _ => Ok(()),
    }
}

fn publish_event(cloud: &AwsTarget, entry: &Value) -> Result<bool> {
    if string_at(entry, "/DetailType").is_none() || string_at(entry, "/Detail").is_none() {
        return Ok(false);
    }
    let answer = cloud.call("events", "PutEvents", &json!({ "Entries": [entry] }))?;
    if answer["FailedEntryCount"] != 0 {
        let reason = string_at(&answer, "/Entries/0/ErrorMessage").unwrap_or_default();
        bail!("the bus refuses an event: {reason}");
    }
    Ok(true)
}
