//! `cargo xtask deploy`: what was changed since, into the system that runs.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::environment::Addresses;
use crate::instance::{Instance, InstanceKind};
use crate::progress::run_step;
use crate::supervisor::{Condition, InstanceLock, POLL_INTERVAL, Phase, SystemState, shutdown, unix_millis};
use crate::{cargo, deployment, services, system};

/// How long the supervisor may take to start the rebuilt programs again.
const RESTART_TIMEOUT: Duration = Duration::from_secs(120);

/// Rebuilds, migrates, replaces functions and template, and has rebuilt programs started again.
///
/// # Errors
/// When nothing runs, or that of the step that failed.
pub fn run() -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Development);
    let running = InstanceLock::holder(&instance).is_some();
    let state = SystemState::read(&instance).filter(|state| running && state.phase == Phase::Ready);
    let supervisor = state
        .context("the system is not running; `cargo xtask up` builds and starts it")?
        .supervisor;
    let addresses = Addresses::from_last_run(&instance);
    let built = system::build_executables(instance.kind())?;
    system::migrate(&instance, &addresses, &built)?;
    run_step("Deployment", |step| {
        step.set_outcome(system::describe_outcome(deployment::deploy(
            &instance, &addresses, &built,
        )?));
        Ok(())
    })?;
    run_step("Services", |step| {
        let stale = stale_services(&instance, &built)?;
        if stale.is_empty() {
            step.set_outcome("unchanged");
            return Ok(());
        }
        step.set_message(format!("starting again: {}", stale.join(", ")));
        shutdown::send_signal(&supervisor, Signal::USR1);
        let deadline = Instant::now() + RESTART_TIMEOUT;
        while !stale_services(&instance, &built)?.is_empty() {
            if Instant::now() > deadline {
                bail!(
                    "{} did not come back; `cargo xtask logs` tells more",
                    stale.join(", ")
                );
            }
            thread::sleep(POLL_INTERVAL);
        }
        step.set_outcome(format!("started again: {}", stale.join(", ")));
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The programs that do not yet run as they were built last.
fn stale_services(instance: &Instance, built: &cargo::Executables) -> Result<Vec<String>> {
    let state = SystemState::read(instance).context("the system has just been stopped")?;
    let mut stale = Vec::new();
    for program in state
        .programs
        .iter()
        .filter(|program| built.contains_key(&program.name))
    {
        let modified = services::executable_path(built, &program.name)?
            .metadata()?
            .modified()?;
        if program.built_at != Some(unix_millis(modified)) || program.condition != Condition::Running {
            stale.push(program.name.clone());
        }
    }
    Ok(stale)
}
