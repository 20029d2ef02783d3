//! `cargo xtask chaos`: orders under load while everything goes wrong, against a system made for it.

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

/// Brings up a system, disturbs it, and tells what the books say; the verdict is ours.
///
/// # Errors
/// When the system does not come up, or the program that disturbs it cannot be run.
pub fn run(arguments: &ChaosArgs) -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Chaos);
    let interrupt = Interrupt::listen()?;
    let lock = InstanceLock::try_acquire(&instance)?.context("another run of this checkout is under way")?;
    shutdown::stop_orphans(&instance, &lock);
    system::wipe(&instance)?;
    let built = system::prepare(&instance, &interrupt)?;
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let mut command = Command::new(services::executable_path(&built, "chaos")?);
    command.args([
        "--orders",
        &arguments.orders.to_string(),
        "--seed",
        &seed.to_string(),
    ]);
    if arguments.json {
        command.arg("--json");
    }
    let again = format!("cargo xtask chaos --orders {} --seed {seed}", arguments.orders);
    let mut system = RunningSystem::start(&instance, built, None, &interrupt)?;
    anstream::eprintln!("\n  {BOLD}{again}{BOLD:#} repeats this plan\n");
    let result = command
        .envs(system.addresses.env_vars(system.instance()))
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .spawn()
        .context("cannot run chaos")
        .and_then(|child| system.supervise_until_exit(child, &interrupt));
    system.stop();
    system::wipe(&instance)?;
    let status = result?;
    interrupt.check()?;
    if status.success() {
        anstream::eprintln!("{GREEN}✓{GREEN:#} nothing was lost");
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!(
        "{RED}✗{RED:#} `{again}`: what the programs wrote meanwhile is in {BOLD}{}{BOLD:#}",
        instance.logs_dir().display()
    );
    Ok(ExitCode::FAILURE)
}

/// A seed that no run had before.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}
