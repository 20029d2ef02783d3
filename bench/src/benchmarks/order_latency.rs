//! From an order's acceptance to its completion: our saga against the same state machine with empty functions, behind
//! the same bus and a queue of the same kind.

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
    stats::percentile,
};

/// At most so much longer than the empty saga.
const MAX_RATIO: f64 = 1.5;

/// Runs before the first that counts: every function has its process then.
const WARM_UP_RUNS: usize = 5;

/// Each run has so long for itself; an idle machine needs half of it.
const RUN_INTERVAL: Duration = Duration::from_millis(900);

/// How long an execution may take.
const EXECUTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How often an execution is asked for that has outlasted its slot. Within it nobody asks: that would be load.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The steps of an order that is completed.
const STEPS: [&str; 5] = [
    "ReserveStock",
    "ProcessPayment",
    "UpdateStock",
    "CompleteOrder",
    "SendNotification",
];

/// The parts of the way that are told, and in which order.
const ACCEPTED_TO_STARTED: &str = "accepted → saga started";
const ACCEPTED_TO_COMPLETED: &str = "**accepted → completed**";
const ACCEPTED_TO_ENDED: &str = "accepted → saga ended";

/// Milliseconds of each part of the way.
type PhaseDurations = BTreeMap<&'static str, f64>;

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let baseline_saga = BaselineSaga::deploy(context).await?;
    let sagas = aws_sdk_sfn::Client::new(&aws_client::sdk_config().await);
    let shop = ApiClient::new(context)?;
    let product = shop.create_product(1_000_000).await?;
    let customer = shop.create_customer().await?;

    let pairs = context.full_or_quick(150, 25);
    let (mut ours, mut empty) = (Vec::new(), Vec::new());
    for pair in 0..WARM_UP_RUNS + pairs {
        let slot = Instant::now() + RUN_INTERVAL;
        let (name, at) = shop.place_accepted_order(&customer, &product).await?;
        sleep_until(slot).await;
        let order = phase_durations(&sagas, "order-saga", &name, at).await?;

        let slot = Instant::now() + RUN_INTERVAL;
        let (name, at) = baseline_saga.start_execution(context).await?;
        sleep_until(slot).await;
        let nothing = phase_durations(&sagas, baseline_saga::STATE_MACHINE_NAME, &name, at).await?;
        if pair >= WARM_UP_RUNS {
            ours.push(order);
            empty.push(nothing);
        }
    }

    let told = [
        &[ACCEPTED_TO_STARTED],
        &STEPS[..4],
        &[ACCEPTED_TO_COMPLETED],
        &STEPS[4..],
        &[ACCEPTED_TO_ENDED],
    ]
    .concat();
    let rows = told.iter().map(|part| {
        let [ours, empty] = [&ours, &empty].map(|runs| p50_and_p99(part, runs));
        let mut row = vec![(*part).to_owned()];
        row.extend([ours.0, empty.0].map(|ms| format!("{ms:.0}")));
        row.push(format_ratio(ours.0 / empty.0));
        row.extend([ours.1, empty.1].map(|ms| format!("{ms:.0}")));
        row.push(format_ratio(ours.1 / empty.1));
        row
    });
    let [ours_completed, baseline_completed] =
        [&ours, &empty].map(|runs| p50_and_p99(ACCEPTED_TO_COMPLETED, runs));
    Ok(Section {
        title: "Orders: accepted → completed".to_owned(),
        text: format!(
            "Our saga against the same state machine with functions that do nothing, which stands behind the same bus, a \
             rule and a queue of the same kind, and a starter that only starts executions (each logs its line, because the \
             local AWS waits 40 ms for one that does not come). {pairs} orders and {pairs} \
             empty executions in turns, one at a time, every function warm.\n\n\
             Our clock starts when the customer has read the 202 and before anybody looked at the event; the empty \
             saga's starts before its event is put on the bus. Both end by the local AWS's own history: *completed* when \
             the state CompleteOrder is left, *ended* when the execution has succeeded. What the customer's request \
             itself takes is not part of it. Milliseconds."
        ),
        columns: [
            "",
            "order p50",
            "empty p50",
            "ratio",
            "order p99",
            "empty p99",
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

/// How long an execution took that came of something accepted at `accepted`, part by part.
async fn phase_durations(
    sagas: &aws_sdk_sfn::Client,
    machine: &str,
    name: &str,
    accepted: Timestamp,
) -> anyhow::Result<PhaseDurations> {
    let arn = format!("arn:aws:states:ap-northeast-1:000000000000:execution:{machine}:{name}");
    wait_for_success(sagas, &arn).await?;
    let history = sagas
        .get_execution_history()
        .execution_arn(&arn)
        .max_results(1000)
        .send()
        .await?;
    let zero = accepted.timestamp_micros() as f64 / 1e3;
    let mut parts = PhaseDurations::new();
    for event in history.events {
        let at = event.timestamp.as_secs_f64() * 1e3 - zero;
        match event.r#type {
            HistoryEventType::ExecutionStarted => parts.insert(ACCEPTED_TO_STARTED, at),
            HistoryEventType::ExecutionSucceeded => parts.insert(ACCEPTED_TO_ENDED, at),
            HistoryEventType::TaskStateEntered => step_name(&event).and_then(|step| parts.insert(step, -at)),
            HistoryEventType::TaskStateExited => step_name(&event).and_then(|step| {
                if step == "CompleteOrder" {
                    parts.insert(ACCEPTED_TO_COMPLETED, at);
                }
                // Entered at what was kept as negative.
                parts.get_mut(step).map(|entered| {
                    *entered += at;
                    *entered
                })
            }),
            _ => None,
        };
    }
    Ok(parts)
}

/// The step that an event is about.
fn step_name(event: &HistoryEvent) -> Option<&'static str> {
    let entered = event.state_entered_event_details().map(|details| details.name());
    let name = entered.or(event.state_exited_event_details().map(|details| details.name()))?;
    STEPS.into_iter().find(|step| *step == name)
}

async fn wait_for_success(sagas: &aws_sdk_sfn::Client, arn: &str) -> anyhow::Result<()> {
    let until = Instant::now() + EXECUTION_TIMEOUT;
    loop {
        // Until it has started there is nothing to describe.
        let status = sagas
            .describe_execution()
            .execution_arn(arn)
            .send()
            .await
            .map(|execution| execution.status)
            .unwrap_or(ExecutionStatus::Running);
        match status {
            ExecutionStatus::Succeeded => return Ok(()),
            ExecutionStatus::Running if Instant::now() < until => sleep(POLL_INTERVAL).await,
            ExecutionStatus::Running => bail!("{arn} has not ended"),
            status => bail!("{arn} is {status}"),
        }
    }
}

/// Of one part of the way, what half of the runs do not exceed, and what all but one in a hundred do not.
fn p50_and_p99(part: &str, runs: &[PhaseDurations]) -> (f64, f64) {
    let measured = || runs.iter().filter_map(|run| run.get(part)).copied();
    (percentile(measured(), 0.5), percentile(measured(), 0.99))
}
