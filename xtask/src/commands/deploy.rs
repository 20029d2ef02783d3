//! `cargo xtask deploy`: rebuilds, and updates what changed in the running system.

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

/// How long the supervisor may take to restart the rebuilt services.
const RESTART_TIMEOUT: Duration = Duration::from_secs(120);

/// # Errors
/// When the system is not running, or a step fails.
pub fn run() -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Development);
    let running = InstanceLock::holder(&instance).is_some();
    let state = SystemState::read(&instance).filter(|state| running && state.phase == Phase::Ready);
    let supervisor = state
        .context("the system is not running; `cargo xtask up` builds and starts it")?
        .supervisor;
    let addresses = Addresses::from_last_run(&instance);
    let executables = system::build_executables(instance.kind())?;
    system::migrate(&instance, &addresses, &executables)?;
    run_step("Deployment", |step| {
        step.set_outcome(system::describe_outcome(deployment::deploy(
            &instance,
            &addresses,
            &executables,
        )?));
        Ok(())
    })?;
    run_step("Services", |step| {
        let stale = stale_services(&instance, &executables)?;
        if stale.is_empty() {
            step.set_outcome("unchanged");
            return Ok(());
        }
        step.set_message(format!("restarting: {}", stale.join(", ")));
        shutdown::send_signal(&supervisor, Signal::USR1);
        let deadline = Instant::now() + RESTART_TIMEOUT;
        while !stale_services(&instance, &executables)?.is_empty() {
            if Instant::now() > deadline {
                bail!(
                    "{} did not restart within {} s; see `cargo xtask logs`",
                    stale.join(", "),
                    RESTART_TIMEOUT.as_secs()
                );
            }
            thread::sleep(POLL_INTERVAL);
        }
        step.set_outcome(format!("restarted: {}", stale.join(", ")));
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The names of the services that do not run the last build yet.
fn stale_services(instance: &Instance, executables: &cargo::Executables) -> Result<Vec<String>> {
    let state = SystemState::read(instance).context("the system was stopped during the deployment")?;
    let mut stale = Vec::new();
    for service in state
        .services
        .iter()
        .filter(|service| executables.contains_key(&service.name))
    {
        let modified = services::executable_path(executables, &service.name)?
            .metadata()?
            .modified()?;
        if service.built_at != Some(unix_millis(modified)) || service.condition != Condition::Running {
            stale.push(service.name.clone());
        }
    }
    Ok(stale)
}
