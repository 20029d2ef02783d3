//! Converts the execution histories of an order's saga to steps of the timeline.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::timeline::{Severity, StepKind, TimelineStep, parse_timestamp_ms};
use crate::aws;
use crate::environment::Addresses;

const STATE_MACHINE: &str = "order-saga";

/// Reads the histories of an order's executions incrementally, one after another.
#[derive(Debug, Default)]
pub struct SagaReader {
    /// How many executions preceded the one that is read.
    restarts: u32,
    execution_arn: Option<String>,
    events_read: usize,
    current_state: String,
    /// When the current state was entered, in milliseconds since 1970.
    entered_at: i64,
    wait_reported: bool,
    last_error: Option<String>,
    /// Whether the execution has ended.
    pub ended: bool,
}

impl SagaReader {
    /// Returns the steps since the last poll. Adds a pending step for a state that has run for more than
    /// `announce_after` milliseconds, to show which state the saga waits for.
    ///
    /// # Errors
    /// When the local AWS does not respond, or has no state machine `order-saga`.
    pub fn poll(
        &mut self,
        addresses: &Addresses,
        order_id: &str,
        now: i64,
        announce_after: i64,
    ) -> Result<Vec<TimelineStep>> {
        if self.ended {
            return Ok(Vec::new());
        }
        let arn = match &self.execution_arn {
            Some(arn) => arn.clone(),
            None => self
                .execution_arn
                .insert(execution_arn(
                    addresses,
                    &execution_name(order_id, self.restarts),
                )?)
                .clone(),
        };
        // The execution does not exist until order-processor has received the order from its queue.
        let input = json!({ "executionArn": arn, "maxResults": 1000 });
        let Ok(history) = aws::call_local(
            addresses,
            "states",
            "AWSStepFunctions.GetExecutionHistory",
            &input,
        ) else {
            return Ok(Vec::new());
        };
        let events = history["events"].as_array().cloned().unwrap_or_default();
        let mut steps = Vec::new();
        for event in events.iter().skip(self.events_read) {
            self.interpret(event, &mut steps);
        }
        self.events_read = events.len();
        let waiting = !self.current_state.is_empty() && !self.ended && !self.wait_reported;
        if waiting && now - self.entered_at > announce_after {
            self.wait_reported = true;
            steps.push(self.state_step(self.entered_at, "is running", Severity::Pending));
        }
        Ok(steps)
    }

    /// Reads the next execution from now on. The customer's action or order-reconciler starts it when the
    /// last one has ended before the order.
    pub fn follow_next_execution(&mut self) {
        *self = Self {
            restarts: self.restarts + 1,
            ..Self::default()
        };
    }

    fn interpret(&mut self, event: &Value, steps: &mut Vec<TimelineStep>) {
        let at = parse_timestamp_ms(&event["timestamp"]).expect("every history event has a timestamp");
        let event_type = event["type"].as_str().expect("every history event has a type");
        let error = |details: &str| {
            event[details]["error"]
                .as_str()
                .unwrap_or("unknown error")
                .to_owned()
        };
        match event_type {
            "ExecutionStarted" => {
                let detail = match self.restarts {
                    0 => "started by order-processor".to_owned(),
                    restarts => format!("execution {} started", restarts + 1),
                };
                steps.push(TimelineStep::new(
                    at,
                    StepKind::Saga,
                    STATE_MACHINE,
                    detail,
                    Severity::Info,
                ));
            }
            "TaskFailed" => self.last_error = Some(error("taskFailedEventDetails")),
            "LambdaFunctionFailed" => self.last_error = Some(error("lambdaFunctionFailedEventDetails")),
            "TaskTimedOut" | "LambdaFunctionTimedOut" => self.last_error = Some("States.Timeout".to_owned()),
            "TaskScheduled" | "LambdaFunctionScheduled" => {
                if let Some(error) = self.last_error.take() {
                    steps.push(self.state_step(at, &format!("{error}; retried"), Severity::Warning));
                }
            }
            "ExecutionSucceeded" => {
                self.ended = true;
                steps.push(TimelineStep::new(
                    at,
                    StepKind::Saga,
                    STATE_MACHINE,
                    "ended".into(),
                    Severity::Info,
                ));
            }
            "ExecutionFailed" | "ExecutionAborted" | "ExecutionTimedOut" => {
                self.ended = true;
                let error = error("executionFailedEventDetails");
                steps.push(TimelineStep::new(
                    at,
                    StepKind::Saga,
                    STATE_MACHINE,
                    format!("failed: {error}"),
                    Severity::Error,
                ));
            }
            _ if event_type.ends_with("StateEntered") => {
                self.current_state = event["stateEnteredEventDetails"]["name"]
                    .as_str()
                    .expect("a StateEntered event names its state")
                    .to_owned();
                self.entered_at = at;
                self.wait_reported = false;
            }
            _ if event_type.ends_with("StateExited") => {
                let duration = at - self.entered_at;
                let step = match self.last_error.take() {
                    Some(error) => {
                        self.state_step(at, &format!("{error}, after {duration} ms"), Severity::Error)
                    }
                    None => self.state_step(at, &format!("{duration} ms"), Severity::Success),
                };
                steps.push(step);
                self.current_state.clear();
            }
            _ => {}
        }
    }

    fn state_step(&self, at: i64, detail: &str, severity: Severity) -> TimelineStep {
        TimelineStep::new(
            at,
            StepKind::Saga,
            &self.current_state,
            detail.to_owned(),
            severity,
        )
    }
}

/// The name of an order's execution, as `order-processor` and `order-reconciler` choose it.
fn execution_name(order_id: &str, restarts: u32) -> String {
    match restarts {
        0 => order_id.to_owned(),
        restarts => format!("{order_id}-{}", restarts + 1),
    }
}

fn execution_arn(addresses: &Addresses, name: &str) -> Result<String> {
    let machines = aws::call_local(
        addresses,
        "states",
        "AWSStepFunctions.ListStateMachines",
        &json!({}),
    )?;
    let machine = machines["stateMachines"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|machine| machine["name"] == STATE_MACHINE)
        .and_then(|machine| machine["stateMachineArn"].as_str())
        .with_context(|| format!("the local AWS has no state machine {STATE_MACHINE}"))?;
    Ok(format!(
        "{}:{name}",
        machine.replace(":stateMachine:", ":execution:")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(history: &[Value]) -> Vec<String> {
        let mut reader = SagaReader::default();
        let mut steps = Vec::new();
        for event in history {
            reader.interpret(event, &mut steps);
        }
        steps
            .iter()
            .map(|step| format!("{} {} {:?}", step.name, step.detail, step.severity))
            .collect()
    }

    #[test]
    fn the_next_execution_is_read_after_one_that_ended_early() {
        let history =
            ["ExecutionStarted", "ExecutionSucceeded"].map(|kind| json!({"type": kind, "timestamp": 1.0}));
        let mut reader = SagaReader::default();
        let mut steps = Vec::new();
        for event in &history {
            reader.interpret(event, &mut steps);
        }
        assert!(reader.ended);
        reader.follow_next_execution();
        assert!(!reader.ended);
        assert_eq!(execution_name("order", 0), "order");
        assert_eq!(execution_name("order", reader.restarts), "order-2");
        reader.interpret(&history[0], &mut steps);
        let details: Vec<&str> = steps.iter().map(|step| step.detail.as_str()).collect();
        assert_eq!(
            details,
            ["started by order-processor", "ended", "execution 2 started"]
        );
    }

    #[test]
    fn a_retried_error_is_a_warning_and_a_caught_one_is_an_error() {
        let history = [
            json!({"type":"TaskStateEntered","timestamp":1.0,
                "stateEnteredEventDetails":{"name":"ReserveStock"}}),
            json!({"type":"TaskScheduled","timestamp":1.0}),
            json!({"type":"TaskFailed","timestamp":1.1,
                "taskFailedEventDetails":{"error":"Unavailable"}}),
            json!({"type":"TaskScheduled","timestamp":2.0}),
            json!({"type":"TaskFailed","timestamp":2.5,
                "taskFailedEventDetails":{"error":"InsufficientStock"}}),
            json!({"type":"TaskStateExited","timestamp":2.5,
                "stateExitedEventDetails":{"name":"ReserveStock"}}),
        ];
        assert_eq!(
            read(&history),
            [
                "ReserveStock Unavailable; retried Warning",
                "ReserveStock InsufficientStock, after 1500 ms Error"
            ]
        );
    }
}
