//! `cargo xtask down`: nothing of this checkout's system runs any more.

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::paths::{self, Instance, Kind};
use crate::progress::{DIM, step};
use crate::supervise::{Lock, TICK, stop};
use crate::{Down, postgres, system};

/// How long a supervisor may take to stop everything: the sum of what its programs may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Stops the system, and what killed commands left running.
///
/// # Errors
/// When the supervisor cannot be stopped.
pub fn run(arguments: &Down) -> Result<ExitCode> {
    let instance = Instance::of(Kind::Development);
    let mut lock = Lock::take(&instance)?;
    let was_running = lock.is_none();
    if was_running {
        lock = Some(step("Stopping", |step| {
            let lock = stop_supervisor(&instance)?;
            step.outcome("everything is down; the data stays in .local");
            Ok(lock)
        })?);
    }
    let mut orphans = lock
        .as_ref()
        .map(|lock| stop::orphans(&instance, lock))
        .unwrap_or_default();
    for kind in Kind::PASSING {
        orphans.extend(sweep(&Instance::of(kind))?);
    }
    if !orphans.is_empty() {
        anstream::eprintln!(
            "  stopped what a killed command had left running: {}",
            orphans.join(", ")
        );
    } else if !was_running {
        anstream::eprintln!("  nothing was running");
    }
    if arguments.purge {
        step("Removing .local", |_| {
            for kind in Kind::PASSING.into_iter().chain([Kind::Development]) {
                postgres::wipe(&Instance::of(kind))?;
            }
            fs::remove_dir_all(paths::shared()).context("cannot remove .local")
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn stop_supervisor(instance: &Instance) -> Result<Lock> {
    let holder = Lock::holder(instance).context("another command is just starting; try again")?;
    stop::send(&holder, Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(lock) = Lock::take(instance)? {
            return Ok(lock);
        }
        thread::sleep(TICK);
    }
    stop::send(&holder, Signal::KILL);
    thread::sleep(TICK);
    Lock::take(instance)?.with_context(|| format!("process {} does not end", holder.pid))
}

/// Cleans up after a command that was killed. One that is under way is left alone: it stops its system itself.
fn sweep(instance: &Instance) -> Result<Vec<String>> {
    if !instance.directory().exists() {
        return Ok(Vec::new());
    }
    let Some(lock) = Lock::take(instance)? else {
        anstream::eprintln!("  {DIM}a test, chaos or bench run is under way; it stops its own system{DIM:#}");
        return Ok(Vec::new());
    };
    let stopped = stop::orphans(instance, &lock);
    system::wipe(instance)?;
    Ok(stopped)
}
