//! `cargo xtask deploy`: what was changed since, into the system that runs.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::environment::Addresses;
use crate::paths::{Instance, Kind};
use crate::progress::step;
use crate::supervise::{Condition, Lock, Phase, State, TICK, milliseconds, stop};
use crate::{cargo, deployment, programs, system};

/// How long the supervisor may take to start the rebuilt programs again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rebuilds, migrates, replaces functions and template, and has rebuilt programs started again.
///
/// # Errors
/// When nothing runs, or that of the step that failed.
pub fn run() -> Result<ExitCode> {
    let instance = Instance::of(Kind::Development);
    let running = Lock::holder(&instance).is_some();
    let state = State::read(&instance).filter(|state| running && state.phase == Phase::Ready);
    let supervisor = state
        .context("the system is not running; `cargo xtask up` builds and starts it")?
        .supervisor;
    let addresses = Addresses::remembered(&instance);
    let built = system::build(instance.kind())?;
    system::migrate(&instance, &addresses, &built)?;
    step("Deployment", |step| {
        step.outcome(system::describe(deployment::deploy(
            &instance, &addresses, &built,
        )?));
        Ok(())
    })?;
    step("Services", |step| {
        let stale = stale(&instance, &built)?;
        if stale.is_empty() {
            step.outcome("unchanged");
            return Ok(());
        }
        step.doing(format!("starting again: {}", stale.join(", ")));
        stop::send(&supervisor, Signal::USR1);
        let deadline = Instant::now() + PATIENCE;
        while !self::stale(&instance, &built)?.is_empty() {
            if Instant::now() > deadline {
                bail!(
                    "{} did not come back; `cargo xtask logs` tells more",
                    stale.join(", ")
                );
            }
            thread::sleep(TICK);
        }
        step.outcome(format!("started again: {}", stale.join(", ")));
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The programs that do not yet run as they were built last.
fn stale(instance: &Instance, built: &cargo::Executables) -> Result<Vec<String>> {
    let state = State::read(instance).context("the system has just been stopped")?;
    let mut stale = Vec::new();
    for program in state
        .programs
        .iter()
        .filter(|program| built.contains_key(&program.name))
    {
        let modified = programs::executable(built, &program.name)?
            .metadata()?
            .modified()?;
        if program.built_at != Some(milliseconds(modified)) || program.condition != Condition::Running {
            stale.push(program.name.clone());
        }
    }
    Ok(stale)
}
