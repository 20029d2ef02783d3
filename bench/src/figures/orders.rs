//! From an order's acceptance to its completion: our saga against the same state machine with empty functions, behind
//! the same bus and a queue of the same kind.

use std::{collections::BTreeMap, time::Duration};

use anyhow::bail;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEvent, HistoryEventType};
use domain::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    context::Context,
    empty_saga::{self, EmptySaga},
    percentile::percentile,
    report::{Section, Target, times},
    shop::Shop,
};

/// At most so much longer than the empty saga.
const GOAL: f64 = 1.5;

/// Runs before the first that counts: every function has its process then.
const WARM_UP: usize = 5;

/// Each run has so long for itself; an idle machine needs half of it.
const SLOT: Duration = Duration::from_millis(900);

/// How long an execution may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often an execution is asked for that has outlasted its slot. Within it nobody asks: that would be load.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The steps of an order that is completed.
const STEPS: [&str; 5] = [
    "ReserveStock",
    "ProcessPayment",
    "UpdateStock",
    "CompleteOrder",
    "SendNotification",
];

/// The parts of the way that are told, and in which order.
const STARTED: &str = "accepted → saga started";
const COMPLETED: &str = "**accepted → completed**";
const ENDED: &str = "accepted → saga ended";

/// Milliseconds of each part of the way.
type Parts = BTreeMap<&'static str, f64>;

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let empty_saga = EmptySaga::deploy(context).await?;
    let sagas = aws_sdk_sfn::Client::new(&cloud::sdk_config().await);
    let shop = Shop::new(context)?;
    let product = shop.product(1_000_000).await?;
    let customer = shop.customer().await?;

    let pairs = context.pick(150, 25);
    let (mut ours, mut empty) = (Vec::new(), Vec::new());
    for pair in 0..WARM_UP + pairs {
        let slot = Instant::now() + SLOT;
        let (name, at) = shop.accepted(&customer, &product).await?;
        sleep_until(slot).await;
        let order = parts(&sagas, "order-saga", &name, at).await?;

        let slot = Instant::now() + SLOT;
        let (name, at) = empty_saga.start(context).await?;
        sleep_until(slot).await;
        let nothing = parts(&sagas, empty_saga::NAME, &name, at).await?;
        if pair >= WARM_UP {
            ours.push(order);
            empty.push(nothing);
        }
    }

    let told = [&[STARTED], &STEPS[..4], &[COMPLETED], &STEPS[4..], &[ENDED]].concat();
    let rows = told.iter().map(|part| {
        let [ours, empty] = [&ours, &empty].map(|runs| p50_and_p99(part, runs));
        let mut row = vec![(*part).to_owned()];
        row.extend([ours.0, empty.0].map(|ms| format!("{ms:.0}")));
        row.push(times(ours.0 / empty.0));
        row.extend([ours.1, empty.1].map(|ms| format!("{ms:.0}")));
        row.push(times(ours.1 / empty.1));
        row
    });
    let [ours_completed, empty_completed] = [&ours, &empty].map(|runs| p50_and_p99(COMPLETED, runs));
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
                GOAL,
                ours_completed.0 / empty_completed.0,
            ),
            Target::at_most(
                "accepted → completed, p99",
                GOAL,
                ours_completed.1 / empty_completed.1,
            ),
        ],
    })
}

/// How long an execution took that came of something accepted at `accepted`, part by part.
async fn parts(
    sagas: &aws_sdk_sfn::Client,
    machine: &str,
    name: &str,
    accepted: Timestamp,
) -> anyhow::Result<Parts> {
    let arn = format!("arn:aws:states:ap-northeast-1:000000000000:execution:{machine}:{name}");
    await_success(sagas, &arn).await?;
    let history = sagas
        .get_execution_history()
        .execution_arn(&arn)
        .max_results(1000)
        .send()
        .await?;
    let zero = accepted.timestamp_micros() as f64 / 1e3;
    let mut parts = Parts::new();
    for event in history.events {
        let at = event.timestamp.as_secs_f64() * 1e3 - zero;
        match event.r#type {
            HistoryEventType::ExecutionStarted => parts.insert(STARTED, at),
            HistoryEventType::ExecutionSucceeded => parts.insert(ENDED, at),
            HistoryEventType::TaskStateEntered => step(&event).and_then(|step| parts.insert(step, -at)),
            HistoryEventType::TaskStateExited => step(&event).and_then(|step| {
                if step == "CompleteOrder" {
                    parts.insert(COMPLETED, at);
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
fn step(event: &HistoryEvent) -> Option<&'static str> {
    let entered = event.state_entered_event_details().map(|details| details.name());
    let name = entered.or(event.state_exited_event_details().map(|details| details.name()))?;
    STEPS.into_iter().find(|step| *step == name)
}

async fn await_success(sagas: &aws_sdk_sfn::Client, arn: &str) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
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
            ExecutionStatus::Running if Instant::now() < until => sleep(ASK_EVERY).await,
            ExecutionStatus::Running => bail!("{arn} has not ended"),
            status => bail!("{arn} is {status}"),
        }
    }
}

/// Of one part of the way, what half of the runs do not exceed, and what all but one in a hundred do not.
fn p50_and_p99(part: &str, runs: &[Parts]) -> (f64, f64) {
    let measured = || runs.iter().filter_map(|run| run.get(part)).copied();
    (percentile(measured(), 0.5), percentile(measured(), 0.99))
}
