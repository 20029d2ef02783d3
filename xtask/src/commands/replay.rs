//! `cargo xtask replay`: has the bus say again what its archive holds.

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
use crate::{ReplayArgs, times};

const BUS: &str = "ecommerce-event-bus";

/// How often it is asked how far the replay has come.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Shows what would be said again, asks, starts the replay and follows it to its end.
///
/// # Errors
/// When there is no archive, the times are none, nobody can be asked, or the replay fails.
pub fn run(arguments: &ReplayArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let at = i64::try_from(unix_seconds_now())
        .ok()
        .and_then(|now| DateTime::from_timestamp(now, 0));
    let at = at.context("the machine's clock is wrong")?;
    let (from, to) = (
        times::parse(&arguments.from, at)?,
        times::parse(&arguments.to, at)?,
    );
    if from >= to {
        bail!("--from is not before --to");
    }
    let cloud = AwsTarget::from_flag(arguments.aws)?;
    let bus = cloud.call("events", "DescribeEventBus", &json!({ "Name": BUS }))?["Arn"].take();
    let archive = find_archive(&cloud, &bus)?;
    if print_preview(&archive, from, to) == Some(0) {
        anstream::println!("There is nothing to say again.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut destination = json!({ "Arn": bus });
    if let Some(rule) = &arguments.rule {
        let asked = json!({ "Name": rule, "EventBusName": BUS });
        destination["FilterArns"] = json!([cloud.call("events", "DescribeRule", &asked)?["Arn"]]);
        if matches!(cloud, AwsTarget::Local(_)) {
            anstream::println!(
                "{YELLOW}!{YELLOW:#} The local AWS knows no filter: every rule gets the events, and not only {rule}.\n"
            );
        }
    }
    if !arguments.yes && !confirm("Say all of this again?")? {
        return Ok(ExitCode::SUCCESS);
    }
    run_step("Replaying", |step| {
        let name = format!("xtask-{}", Uuid::new_v4());
        let input = json!({
            "ReplayName": name, "EventSourceArn": archive["ArchiveArn"], "Destination": destination,
            "EventStartTime": from.timestamp(), "EventEndTime": to.timestamp(),
        });
        cloud.call("events", "StartReplay", &input)?;
        let reached = wait_for_replay(&cloud, &name, &interrupt, |reached| step.set_message(reached))?;
        step.set_outcome(reached);
        Ok(ExitCode::SUCCESS)
    })
}

/// The archive of the bus.
fn find_archive(cloud: &AwsTarget, bus: &Value) -> Result<Value> {
    let archives = cloud.call("events", "ListArchives", &json!({ "EventSourceArn": bus }))?;
    let name = archives
        .pointer("/Archives/0/ArchiveName")
        .with_context(|| format!("{BUS} has no archive"))?;
    cloud.call("events", "DescribeArchive", &json!({ "ArchiveName": name }))
}

/// Shows how much of what it would be, and tells how much where that is known.
fn print_preview(archive: &Value, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<usize> {
    let name = archive["ArchiveName"].as_str().unwrap_or_default();
    let (begin, end) = (to_rfc3339(from), to_rfc3339(to));
    anstream::println!("{BOLD}{name}{BOLD:#} from {begin} to {end}\n");
    let Some(events) = archive["Events"].as_array() else {
        // AWS tells how much an archive holds, and not how much of it is from when.
        let held = &archive["EventCount"];
        anstream::println!(
            "  some of the {held} events that it holds, as of the count that AWS makes once a day\n"
        );
        return None;
    };
    let mut kinds = BTreeMap::<&str, usize>::new();
    for event in events {
        let said = event["Time"].as_i64().unwrap_or_default();
        if (from.timestamp()..=to.timestamp()).contains(&said) {
            *kinds
                .entry(event["DetailType"].as_str().unwrap_or("?"))
                .or_default() += 1;
        }
    }
    anstream::println!("  {DIM}EVENT                       COUNT{DIM:#}");
    for (kind, count) in &kinds {
        anstream::println!("  {kind:26}  {count:>5}");
    }
    let all: usize = kinds.values().sum();
    anstream::println!("  {BOLD}{:26}  {all:>5}{BOLD:#}\n", "all");
    Some(all)
}

/// Waits for the end. A replay that nobody waits for any more is cancelled.
fn wait_for_replay(
    cloud: &AwsTarget,
    name: &str,
    interrupt: &Interrupt,
    progress: impl Fn(String),
) -> Result<String> {
    let asked = json!({ "ReplayName": name });
    loop {
        let replay = cloud.call("events", "DescribeReplay", &asked)?;
        match replay["State"].as_str().unwrap_or_default() {
            "COMPLETED" => return Ok("every event has been said again".to_owned()),
            state @ ("FAILED" | "CANCELLED") => {
                bail!(
                    "the replay is {state}: {}",
                    replay["StateReason"].as_str().unwrap_or("no reason is given")
                )
            }
            state => progress(state.to_lowercase()),
        }
        if interrupt.is_set() {
            cloud.call("events", "CancelReplay", &asked)?;
            interrupt.check()?;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn to_rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
