//! `cargo xtask replay`: replays archived events to the event bus.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::redrive::confirm;
use crate::aws::AwsTarget;
use crate::progress::{BOLD, DIM, YELLOW, run_step};
use crate::signals::Interrupt;
use crate::supervisor::unix_seconds_now;
use crate::{ReplayArgs, time_args};

const BUS: &str = "ecommerce-event-bus";

/// The interval at which the state of the replay is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Shows the archived events of the time range, asks for confirmation, and runs the replay to its end.
///
/// # Errors
/// When there is no archive, a time is invalid, confirmation is needed but standard input is not a terminal,
/// or the replay fails.
pub fn run(arguments: &ReplayArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let now = i64::try_from(unix_seconds_now())
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .context("the machine's clock is outside the supported range")?;
    let (from, to) = (
        time_args::parse(&arguments.from, now)?,
        time_args::parse(&arguments.to, now)?,
    );
    if from >= to {
        bail!("--from must be before --to");
    }
    let target = AwsTarget::from_flag(arguments.aws)?;
    let bus = target.call("events", "DescribeEventBus", &json!({ "Name": BUS }))?["Arn"].take();
    let archive = find_archive(&target, &bus)?;
    if print_preview(&archive, from, to) == Some(0) {
        anstream::println!("The archive has no events in this time range.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut destination = json!({ "Arn": bus });
    if let Some(rule) = &arguments.rule {
        let input = json!({ "Name": rule, "EventBusName": BUS });
        destination["FilterArns"] = json!([target.call("events", "DescribeRule", &input)?["Arn"]]);
        if matches!(target, AwsTarget::Local(_)) {
            anstream::println!(
                "{YELLOW}!{YELLOW:#} The local AWS ignores --rule {rule}: it replays to every rule.\n"
            );
        }
    }
    if !arguments.yes && !confirm("Replay these events?")? {
        return Ok(ExitCode::SUCCESS);
    }
    run_step("Replaying", |step| {
        let name = format!("xtask-{}", Uuid::new_v4());
        let input = json!({
            "ReplayName": name, "EventSourceArn": archive["ArchiveArn"], "Destination": destination,
            "EventStartTime": from.timestamp(), "EventEndTime": to.timestamp(),
        });
        target.call("events", "StartReplay", &input)?;
        wait_for_replay(&target, &name, &interrupt, |state| step.set_message(state))?;
        step.set_outcome("all events were replayed");
        Ok(ExitCode::SUCCESS)
    })
}

/// Returns the description of the bus's archive.
fn find_archive(target: &AwsTarget, bus: &Value) -> Result<Value> {
    let archives = target.call("events", "ListArchives", &json!({ "EventSourceArn": bus }))?;
    let name = archives
        .pointer("/Archives/0/ArchiveName")
        .with_context(|| format!("{BUS} has no archive"))?;
    target.call("events", "DescribeArchive", &json!({ "ArchiveName": name }))
}

/// Prints the number of archived events of each type. Returns the total if it is known: AWS does not report
/// it for a time range.
fn print_preview(archive: &Value, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<usize> {
    let name = archive["ArchiveName"].as_str().unwrap_or("archive");
    let (start, end) = (to_rfc3339(from), to_rfc3339(to));
    anstream::println!("{BOLD}{name}{BOLD:#} from {start} to {end}\n");
    let Some(events) = archive["Events"].as_array() else {
        // AWS reports only the total of an archive, which it updates once a day.
        let total = &archive["EventCount"];
        anstream::println!(
            "  the archive holds {total} events in total, as of the last daily count of AWS\n"
        );
        return None;
    };
    let mut counts = BTreeMap::<&str, usize>::new();
    for event in events {
        let time = event["Time"].as_i64();
        if time.is_some_and(|time| (from.timestamp()..=to.timestamp()).contains(&time)) {
            *counts
                .entry(event["DetailType"].as_str().unwrap_or("?"))
                .or_default() += 1;
        }
    }
    anstream::println!("  {DIM}EVENT                       COUNT{DIM:#}");
    for (detail_type, count) in &counts {
        anstream::println!("  {detail_type:26}  {count:>5}");
    }
    let total: usize = counts.values().sum();
    anstream::println!("  {BOLD}{:26}  {total:>5}{BOLD:#}\n", "total");
    Some(total)
}

/// Waits for the end of the replay, and cancels the replay if the user interrupts the command.
fn wait_for_replay(
    target: &AwsTarget,
    name: &str,
    interrupt: &Interrupt,
    progress: impl Fn(String),
) -> Result<()> {
    let input = json!({ "ReplayName": name });
    loop {
        let replay = target.call("events", "DescribeReplay", &input)?;
        match replay["State"].as_str().context("the replay has no state")? {
            "COMPLETED" => return Ok(()),
            state @ ("FAILED" | "CANCELLED") => {
                bail!(
                    "the replay is {state}: {}",
                    replay["StateReason"].as_str().unwrap_or("no reason given")
                )
            }
            state => progress(state.to_lowercase()),
        }
        if interrupt.is_set() {
            target.call("events", "CancelReplay", &input)?;
            interrupt.check()?;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn to_rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
