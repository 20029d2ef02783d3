//! `cargo xtask down`: stops the system of this checkout, and removes what killed commands left behind.

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::instance::{self, Instance, InstanceKind};
use crate::progress::{DIM, run_step};
use crate::supervisor::{InstanceLock, POLL_INTERVAL, shutdown};
use crate::{DownArgs, postgres, system};

/// How long a supervisor may take to stop all services: the sum of their timeouts.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// # Errors
/// When the supervisor cannot be stopped.
pub fn run(arguments: &DownArgs) -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Development);
    let mut lock = InstanceLock::try_acquire(&instance)?;
    let was_running = lock.is_none();
    if was_running {
        lock = Some(run_step("Stopping", |step| {
            let lock = stop_supervisor(&instance)?;
            step.set_outcome("all services stopped; the data stays in .local");
            Ok(lock)
        })?);
    }
    let mut orphans = lock
        .as_ref()
        .map(|lock| shutdown::stop_orphans(&instance, lock))
        .unwrap_or_default();
    for kind in InstanceKind::EPHEMERAL {
        orphans.extend(clean_up_instance(&Instance::new(kind))?);
    }
    if !orphans.is_empty() {
        anstream::eprintln!(
            "  stopped services that a killed command left running: {}",
            orphans.join(", ")
        );
    } else if !was_running {
        anstream::eprintln!("  nothing was running");
    }
    if arguments.purge {
        run_step("Removing .local", |_| {
            for kind in InstanceKind::EPHEMERAL
                .into_iter()
                .chain([InstanceKind::Development])
            {
                postgres::wipe(&Instance::new(kind))?;
            }
            fs::remove_dir_all(instance::local_dir()).context("cannot remove .local")
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn stop_supervisor(instance: &Instance) -> Result<InstanceLock> {
    let holder =
        InstanceLock::holder(instance).context("another command is starting the system now; try again")?;
    shutdown::send_signal(&holder, Signal::TERM);
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(lock) = InstanceLock::try_acquire(instance)? {
            return Ok(lock);
        }
        thread::sleep(POLL_INTERVAL);
    }
    shutdown::send_signal(&holder, Signal::KILL);
    thread::sleep(POLL_INTERVAL);
    InstanceLock::try_acquire(instance)?
        .with_context(|| format!("process {} is still running after SIGKILL", holder.pid))
}

/// Cleans up an ephemeral instance after its command was killed. Leaves it alone while its command runs,
/// because the command stops its own system.
fn clean_up_instance(instance: &Instance) -> Result<Vec<String>> {
    if !instance.directory().exists() {
        return Ok(Vec::new());
    }
    let Some(lock) = InstanceLock::try_acquire(instance)? else {
        anstream::eprintln!(
            "  {DIM}{} is in use by another command, which will stop its own services{DIM:#}",
            instance.directory().display()
        );
        return Ok(Vec::new());
    };
    let stopped = shutdown::stop_orphans(instance, &lock);
    system::wipe(instance)?;
    Ok(stopped)
}
