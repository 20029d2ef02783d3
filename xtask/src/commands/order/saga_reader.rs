//! Reads the history of an order's saga as steps.

use anyhow::Result;
use serde_json::{Value, json};

use super::timeline::{Severity, StepKind, TimelineStep, parse_timestamp_ms};
use crate::aws;
use crate::environment::Addresses;

const STATE_MACHINE: &str = "order-saga";

/// How far the history of one execution has been read.
#[derive(Debug, Default)]
pub struct SagaReader {
    execution_arn: Option<String>,
    events_read: usize,
    current_state: String,
    entered_at: i64,
    wait_reported: bool,
    last_error: Option<String>,
    /// Whether the execution has ended.
    pub ended: bool,
}

impl SagaReader {
    /// What has happened since the last time. A state that is still at work `patience` milliseconds after it was
    /// entered is announced, so that a person sees what is being waited for.
    ///
    /// # Errors
    /// When the local AWS does not answer.
    pub fn poll(
        &mut self,
        addresses: &Addresses,
        order: &str,
        now: i64,
        patience: i64,
    ) -> Result<Vec<TimelineStep>> {
        if self.ended {
            return Ok(Vec::new());
        }
        let arn = match &self.execution_arn {
            Some(arn) => arn.clone(),
            None => self
                .execution_arn
                .insert(execution_arn(addresses, order)?)
                .clone(),
        };
        // The execution does not exist before the order has come through its queue.
        let input = json!({ "executionArn": arn, "maxResults": 1000 });
        let Ok(answer) = aws::call_local(
            addresses,
            "states",
            "AWSStepFunctions.GetExecutionHistory",
            &input,
        ) else {
            return Ok(Vec::new());
        };
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        let mut steps = Vec::new();
        for event in events.iter().skip(self.events_read) {
            self.interpret(event, &mut steps);
        }
        self.events_read = events.len();
        let waiting = !self.current_state.is_empty() && !self.ended && !self.wait_reported;
        if waiting && now - self.entered_at > patience {
            self.wait_reported = true;
            steps.push(self.state_step(self.entered_at, "is at work", Severity::Busy));
        }
        Ok(steps)
    }

    fn interpret(&mut self, event: &Value, steps: &mut Vec<TimelineStep>) {
        let at = parse_timestamp_ms(&event["timestamp"]).unwrap_or_default();
        let kind = event["type"].as_str().unwrap_or_default();
        let error = |details: &str| {
            event[details]["error"]
                .as_str()
                .unwrap_or("an unnamed error")
                .to_owned()
        };
        match kind {
            "ExecutionStarted" => {
                steps.push(TimelineStep::new(
                    at,
                    StepKind::Saga,
                    STATE_MACHINE,
                    "started by order-processor".into(),
                    Severity::Plain,
                ));
            }
            "TaskFailed" => self.last_error = Some(error("taskFailedEventDetails")),
            "LambdaFunctionFailed" => self.last_error = Some(error("lambdaFunctionFailedEventDetails")),
            "TaskTimedOut" | "LambdaFunctionTimedOut" => self.last_error = Some("States.Timeout".to_owned()),
            "TaskScheduled" | "LambdaFunctionScheduled" => {
                if let Some(failure) = self.last_error.take() {
                    steps.push(self.state_step(at, &format!("{failure}; tried again"), Severity::Warning));
                }
            }
            "ExecutionSucceeded" => {
                self.ended = true;
                steps.push(TimelineStep::new(
                    at,
                    StepKind::Saga,
                    STATE_MACHINE,
                    "ended".into(),
                    Severity::Plain,
                ));
            }
            "ExecutionFailed" | "ExecutionAborted" | "ExecutionTimedOut" => {
                self.ended = true;
                let failure = error("executionFailedEventDetails");
                steps.push(TimelineStep::new(
                    at,
                    StepKind::Saga,
                    STATE_MACHINE,
                    format!("gave up: {failure}"),
                    Severity::Bad,
                ));
            }
            _ if kind.ends_with("StateEntered") => {
                self.current_state = event["stateEnteredEventDetails"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                self.entered_at = at;
                self.wait_reported = false;
            }
            _ if kind.ends_with("StateExited") => {
                let took = at - self.entered_at;
                let step = match self.last_error.take() {
                    Some(failure) => {
                        self.state_step(at, &format!("{failure}, after {took} ms"), Severity::Bad)
                    }
                    None => self.state_step(at, &format!("{took} ms"), Severity::Good),
                };
                steps.push(step);
                self.current_state.clear();
            }
            _ => {}
        }
    }

    fn state_step(&self, at: i64, detail: &str, tone: Severity) -> TimelineStep {
        TimelineStep::new(at, StepKind::Saga, &self.current_state, detail.to_owned(), tone)
    }
}

/// An execution is named after its order.
fn execution_arn(addresses: &Addresses, order: &str) -> Result<String> {
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
        .unwrap_or_default();
    Ok(format!(
        "{}:{order}",
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
    fn a_retried_failure_is_a_warning_and_a_caught_one_is_bad() {
        let history = [
            json!({"type":"TaskStateEntered","timestamp":1.0,"stateEnteredEventDetails":{"name":"ReserveStock"}}),
            json!({"type":"TaskScheduled","timestamp":1.0}),
            json!({"type":"TaskFailed","timestamp":1.1,"taskFailedEventDetails":{"error":"Unavailable"}}),
            json!({"type":"TaskScheduled","timestamp":2.0}),
            json!({"type":"TaskFailed","timestamp":2.5,"taskFailedEventDetails":{"error":"InsufficientStock"}}),
            json!({"type":"TaskStateExited","timestamp":2.5,"stateExitedEventDetails":{"name":"ReserveStock"}}),
        ];
        assert_eq!(
            read(&history),
            [
                "ReserveStock Unavailable; tried again Warning",
                "ReserveStock InsufficientStock, after 1500 ms Bad"
            ]
        );
    }
}
