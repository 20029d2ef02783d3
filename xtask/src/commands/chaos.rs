//! `cargo xtask chaos`: runs the chaos test against a temporary system.

use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::ChaosArgs;
use crate::instance::{Instance, InstanceKind};
use crate::progress::{BOLD, GREEN, RED};
use crate::services;
use crate::signals::Interrupt;
use crate::supervisor::{InstanceLock, shutdown};
use crate::system::{self, RunningSystem};

/// Starts a system and runs the `chaos` executable against it. Succeeds if the consistency check passes.
///
/// # Errors
/// When the system does not start, or the `chaos` executable cannot be run.
pub fn run(arguments: &ChaosArgs) -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Chaos);
    let interrupt = Interrupt::listen()?;
    let lock =
        InstanceLock::try_acquire(&instance)?.context("another chaos run of this checkout is in progress")?;
    shutdown::stop_orphans(&instance, &lock);
    system::wipe(&instance)?;
    let executables = system::prepare(&instance, &interrupt)?;
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let mut command = Command::new(services::executable_path(&executables, "chaos")?);
    command.args([
        "--orders",
        &arguments.orders.to_string(),
        "--seed",
        &seed.to_string(),
    ]);
    if arguments.json {
        command.arg("--json");
    }
    let repeat_command = format!("cargo xtask chaos --orders {} --seed {seed}", arguments.orders);
    let mut system = RunningSystem::start(&instance, executables, None, &interrupt)?;
    anstream::eprintln!("\n  {BOLD}{repeat_command}{BOLD:#} repeats this fault schedule\n");
    command
        .envs(system.addresses.env_vars(system.instance()))
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN");
    let result = system.supervise_until_exit(&mut command, &interrupt);
    system.stop();
    system::wipe(&instance)?;
    let status = result?;
    interrupt.check()?;
    if status.success() {
        anstream::eprintln!("{GREEN}✓{GREEN:#} all invariants hold");
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!(
        "{RED}✗{RED:#} `{repeat_command}` failed; the logs of the services are in {BOLD}{}{BOLD:#}",
        instance.logs_dir().display()
    );
    Ok(ExitCode::FAILURE)
}

/// A seed from the current time.
fn new_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is after 1970");
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}
