//! Order latency from acceptance to completion: our saga against the same state machine with functions that
//! do baseline_run, behind the same bus and a queue of the same kind.

use std::{collections::BTreeMap, time::Duration};

use anyhow::bail;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEvent, HistoryEventType};
use domain::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    api_client::ApiClient,
    baseline_saga::{self, BaselineSaga},
    context::Context,
    report::{Section, Target, format_ratio},
    stats::p50_and_p99,
};

/// The maximum ratio to the baseline saga.
const MAX_RATIO: f64 = 1.5;

/// Runs that do not count, because they start the functions' processes.
const WARM_UP_RUNS: usize = 5;

/// Time slot of each run. An idle machine needs half of it.
const RUN_INTERVAL: Duration = Duration::from_millis(900);

/// How long an execution may take.
const EXECUTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Interval of status checks after the slot. There are none during the slot, because they would be load.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The steps of a completed order.
const STEPS: [&str; 6] = [
    "CreatePayment",
    "ReserveStock",
    "ProcessPayment",
    "UpdateStock",
    "CompleteOrder",
    "SendNotification",
];

/// The reported phases besides the steps.
const ACCEPTED_TO_STARTED: &str = "accepted → saga started";
const ACCEPTED_TO_COMPLETED: &str = "**accepted → completed**";
const ACCEPTED_TO_ENDED: &str = "accepted → saga ended";

/// Milliseconds by phase.
type PhaseDurations = BTreeMap<&'static str, f64>;

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let baseline_saga = BaselineSaga::deploy(context).await?;
    let step_functions = aws_sdk_sfn::Client::new(&aws_client::sdk_config().await);
    let api = ApiClient::new(context)?;
    let product = api.create_product(1_000_000).await?;
    let customer = api.create_customer().await?;

    let pairs = context.full_or_quick(150, 25);
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    for pair in 0..WARM_UP_RUNS + pairs {
        let slot = Instant::now() + RUN_INTERVAL;
        let (name, accepted_at) = api.place_accepted_order(&customer, &product).await?;
        sleep_until(slot).await;
        let order = phase_durations(&step_functions, "order-saga", &name, accepted_at).await?;

        let slot = Instant::now() + RUN_INTERVAL;
        let (name, accepted_at) = baseline_saga.start_execution(context).await?;
        sleep_until(slot).await;
        let baseline_run = phase_durations(
            &step_functions,
            baseline_saga::STATE_MACHINE_NAME,
            &name,
            accepted_at,
        )
        .await?;
        if pair >= WARM_UP_RUNS {
            ours.push(order);
            baseline.push(baseline_run);
        }
    }

    let phases = [
        &[ACCEPTED_TO_STARTED],
        &STEPS[..5],
        &[ACCEPTED_TO_COMPLETED],
        &STEPS[5..],
        &[ACCEPTED_TO_ENDED],
    ]
    .concat();
    let rows = phases.iter().map(|phase| {
        let [ours, baseline] = [&ours, &baseline].map(|runs| phase_percentiles(phase, runs));
        let mut row = vec![(*phase).to_owned()];
        row.extend([ours.0, baseline.0].map(|ms| format!("{ms:.0}")));
        row.push(format_ratio(ours.0 / baseline.0));
        row.extend([ours.1, baseline.1].map(|ms| format!("{ms:.0}")));
        row.push(format_ratio(ours.1 / baseline.1));
        row
    });
    let [ours_completed, baseline_completed] =
        [&ours, &baseline].map(|runs| phase_percentiles(ACCEPTED_TO_COMPLETED, runs));
    Ok(Section {
        title: "Order latency: accepted → completed".to_owned(),
        text: format!(
            "Our saga against the same state machine with functions that do nothing, behind the same bus, a \
             rule and a queue of the same kind, and a starter that only starts executions. (Each function \
             writes one log line, because the local AWS waits 40 ms for a missing one.) {pairs} orders and \
             {pairs} baseline executions, alternating, one at a time, with warm functions.\n\nAn order's \
             time starts when the customer has received the 202; the baseline's starts before its event is \
             published. Both end according to the execution history of the local AWS: *completed* when the \
             state CompleteOrder exits, *ended* when the execution has succeeded. The duration of the \
             customer's request is not included. Milliseconds."
        ),
        columns: [
            "",
            "order p50",
            "baseline p50",
            "ratio",
            "order p99",
            "baseline p99",
            "ratio",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
        targets: vec![
            Target::at_most(
                "accepted → completed, p50",
                MAX_RATIO,
                ours_completed.0 / baseline_completed.0,
            ),
            Target::at_most(
                "accepted → completed, p99",
                MAX_RATIO,
                ours_completed.1 / baseline_completed.1,
            ),
        ],
    })
}

/// Returns the durations of an execution's phases. `accepted_at` is when the order or the event was accepted.
async fn phase_durations(
    step_functions: &aws_sdk_sfn::Client,
    state_machine: &str,
    name: &str,
    accepted_at: Timestamp,
) -> anyhow::Result<PhaseDurations> {
    let arn = format!("arn:aws:states:ap-northeast-1:000000000000:execution:{state_machine}:{name}");
    wait_for_success(step_functions, &arn).await?;
    let history = step_functions.get_execution_history().execution_arn(&arn);
    let events: Vec<_> = history.into_paginator().items().send().try_collect().await?;
    let accepted_ms = accepted_at.timestamp_micros() as f64 / 1e3;
    let mut durations = PhaseDurations::new();
    for event in events {
        let elapsed_ms = event.timestamp.as_secs_f64() * 1e3 - accepted_ms;
        match event.r#type {
            HistoryEventType::ExecutionStarted => durations.insert(ACCEPTED_TO_STARTED, elapsed_ms),
            HistoryEventType::ExecutionSucceeded => durations.insert(ACCEPTED_TO_ENDED, elapsed_ms),
            HistoryEventType::TaskStateEntered => {
                step_name(&event).and_then(|step| durations.insert(step, -elapsed_ms))
            }
            HistoryEventType::TaskStateExited => step_name(&event).and_then(|step| {
                if step == "CompleteOrder" {
                    durations.insert(ACCEPTED_TO_COMPLETED, elapsed_ms);
                }
                // The entry holds the negative time at which the step was entered.
                durations.get_mut(step).map(|entered| {
                    *entered += elapsed_ms;
                    *entered
                })
            }),
            _ => None,
        };
    }
    Ok(durations)
}

/// Returns the step to which an event belongs.
fn step_name(event: &HistoryEvent) -> Option<&'static str> {
    let entered = event.state_entered_event_details().map(|details| details.name());
    let name = entered.or(event.state_exited_event_details().map(|details| details.name()))?;
    STEPS.into_iter().find(|step| *step == name)
}

async fn wait_for_success(step_functions: &aws_sdk_sfn::Client, arn: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + EXECUTION_TIMEOUT;
    loop {
        // DescribeExecution fails until the execution has started.
        let status = step_functions
            .describe_execution()
            .execution_arn(arn)
            .send()
            .await
            .map(|execution| execution.status)
            .unwrap_or(ExecutionStatus::Running);
        match status {
            ExecutionStatus::Succeeded => return Ok(()),
            ExecutionStatus::Running if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
            ExecutionStatus::Running => bail!("{arn} did not end in time"),
            status => bail!("{arn} is {status}"),
        }
    }
}

/// Returns the 50th and the 99th percentile of one phase.
fn phase_percentiles(phase: &str, runs: &[PhaseDurations]) -> (f64, f64) {
    p50_and_p99(runs.iter().filter_map(|run| run.get(phase)).copied())
}
