//! Where a message that was set aside belongs.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::queue::{Message, Queue};
use super::text;
use crate::aws::Cloud;

/// Orders whose compensation failed for good.
const PARKED_ORDERS: &str = "order-parking-queue";

/// Events that could not be published.
const PARKED_EVENTS: &str = "event-parking-queue";

const SAGA: &str = "order-saga";

/// The members of a parked order's state that its saga was started with. What the steps answered goes: the saga asks
/// them again, and each knows what it has done.
const INPUT: [&str; 9] = [
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
    Source(Queue),
    /// Each order's saga starts again, from its beginning.
    Saga { arn: String },
    /// Each event is published.
    Bus,
}

impl Destination {
    /// The queue of that name, and where its messages belong.
    ///
    /// # Errors
    /// When there is no such queue, or it is none that things are set aside in.
    pub fn of(cloud: &Cloud, name: &str) -> Result<(Queue, Self)> {
        let mut queues = Queue::all(cloud)?;
        let Some(at) = queues.iter().position(|queue| queue.name == name) else {
            bail!("there is no queue {name}; there are: {}", set_aside(&queues));
        };
        let queue = queues.swap_remove(at);
        let destination = match name {
            PARKED_ORDERS => Self::Saga { arn: saga(cloud)? },
            PARKED_EVENTS => Self::Bus,
            _ => {
                let feeds = |source: &Queue| source.dead_letters().as_deref() == Some(queue.arn());
                let Some(source) = queues.iter().position(feeds) else {
                    queues.push(queue);
                    bail!(
                        "{name} is at work; messages are set aside in {}",
                        set_aside(&queues)
                    );
                };
                Self::Source(queues.swap_remove(source))
            }
        };
        Ok((queue, destination))
    }

    /// What messages are sent to.
    pub fn name(&self) -> &str {
        match self {
            Self::Source(queue) => &queue.name,
            Self::Saga { .. } => SAGA,
            Self::Bus => "the event bus",
        }
    }

    /// What will happen, as a sentence.
    pub fn intention(&self) -> String {
        match self {
            Self::Source(queue) => format!("They go back to {}.", queue.name),
            Self::Saga { .. } => format!("Each order's {SAGA} starts again."),
            Self::Bus => "Each event is published again.".to_owned(),
        }
    }

    /// Sends a message on; false when it is nothing that belongs there.
    ///
    /// # Errors
    /// When AWS refuses.
    pub fn take(&self, cloud: &Cloud, message: &Message) -> Result<bool> {
        match self {
            Self::Source(queue) => {
                let mut input = json!({
                    "QueueUrl": queue.url, "MessageBody": message.body, "MessageAttributes": message.attributes,
                });
                if message.trace.is_string() {
                    let trace = json!({ "DataType": "String", "StringValue": message.trace });
                    input["MessageSystemAttributes"] = json!({ "AWSTraceHeader": trace });
                }
                cloud.call("sqs", "SendMessage", &input)?;
                Ok(true)
            }
            Self::Saga { arn } => match execution(arn, message) {
                Some(execution) => start(cloud, &execution).map(|()| true),
                None => Ok(false),
            },
            Self::Bus => publish(cloud, &message.content),
        }
    }
}

/// The queues that things are set aside in.
fn set_aside(queues: &[Queue]) -> String {
    let dead: Vec<String> = queues.iter().filter_map(Queue::dead_letters).collect();
    let mut names: Vec<&str> = queues
        .iter()
        .filter(|queue| {
            [PARKED_ORDERS, PARKED_EVENTS].contains(&queue.name.as_str())
                || dead.iter().any(|arn| arn == queue.arn())
        })
        .map(|queue| queue.name.as_str())
        .collect();
    names.sort_unstable();
    names.join(", ")
}

fn saga(cloud: &Cloud) -> Result<String> {
    let machines = cloud.call("states", "ListStateMachines", &json!({}))?;
    let machines = machines["stateMachines"].as_array().into_iter().flatten();
    machines
        .filter(|machine| machine["name"] == SAGA)
        .find_map(|machine| text(machine, "/stateMachineArn"))
        .with_context(|| format!("there is no state machine {SAGA}"))
}

/// What starts a parked order's saga; none when this is no parked order. The name is the message's, so that one that
/// was interrupted before the message was deleted is not started twice.
fn execution(saga: &str, message: &Message) -> Option<Value> {
    let state = message.content.get("state")?;
    let input: Option<Map<String, Value>> = INPUT
        .iter()
        .map(|member| Some(((*member).to_owned(), state.get(member)?.clone())))
        .collect();
    let order_id = text(state, "/order_id")?;
    Some(json!({
        "stateMachineArn": saga,
        "name": format!("{order_id}-{}", message.id),
        "input": Value::from(input?).to_string(),
    }))
}

fn start(cloud: &Cloud, execution: &Value) -> Result<()> {
    match cloud.call("states", "StartExecution", execution) {
        Err(error) if !error.to_string().contains("ExecutionAlreadyExists") => Err(error),
        _ => Ok(()),
    }
}

fn publish(cloud: &Cloud, entry: &Value) -> Result<bool> {
    if text(entry, "/DetailType").is_none() || text(entry, "/Detail").is_none() {
        return Ok(false);
    }
    let answer = cloud.call("events", "PutEvents", &json!({ "Entries": [entry] }))?;
    if answer["FailedEntryCount"] != 0 {
        let reason = text(&answer, "/Entries/0/ErrorMessage").unwrap_or_default();
        bail!("the bus refuses an event: {reason}");
    }
    Ok(true)
}
