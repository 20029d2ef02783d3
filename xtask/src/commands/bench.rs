//! `cargo xtask bench`: release builds of everything, brought up for nobody else, and the figures measured beside them.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo::Executables;
use crate::instance::{self, Instance, InstanceKind};
use crate::postgres::Postgres;
use crate::progress::{BOLD, GREEN, RED, run_step};
use crate::signals::Interrupt;
use crate::supervisor::{InstanceLock, shutdown};
use crate::system::{self, RunningSystem};
use crate::{BenchArgs, dynoxide, python, services};

/// Measures, and writes docs/benchmarks.md.
///
/// # Errors
/// When there is no such figure, the system does not come up, or the measuring program cannot be run.
pub fn run(arguments: &BenchArgs) -> Result<ExitCode> {
    // Said now, not after a release build of ten minutes.
    validate_names(&arguments.figures)?;
    let instance = Instance::new(InstanceKind::Bench);
    let interrupt = Interrupt::listen()?;
    let lock =
        InstanceLock::try_acquire(&instance)?.context("another bench run of this checkout is under way")?;
    shutdown::stop_orphans(&instance, &lock);
    system::wipe(&instance)?;
    let built = system::prepare(&instance, &interrupt)?;
    let pgbench = run_step("pgbench", |step| {
        let pgbench = Postgres::prepare(&instance, step)?.pgbench_path();
        if !pgbench.exists() {
            bail!(
                "there is no {}; Debian has it in postgresql-contrib",
                pgbench.display()
            );
        }
        Ok(pgbench)
    })?;
    // Only this figure needs it, and it is compiled first.
    let dynoxide =
        if arguments.figures.is_empty() || arguments.figures.iter().any(|name| name == "acceptance") {
            Some(run_step("dynoxide", dynoxide::find_or_install)?)
        } else {
            None
        };
    let mut system = RunningSystem::start(&instance, built.clone(), None, &interrupt)?;
    let result = bench_command(&system, &built, arguments)
        .map(|mut command| {
            command
                .env("PGBENCH", pgbench)
                .envs(dynoxide.map(|dynoxide| ("DYNOXIDE", dynoxide)))
                .spawn()
        })
        .and_then(|child| child.context("cannot run the program that measures"))
        .and_then(|child| system.supervise_until_exit(child, &interrupt));
    system.stop();
    system::wipe(&instance)?;
    let status = result?;
    interrupt.check()?;
    if status.success() {
        anstream::eprintln!("{GREEN}✓{GREEN:#} {BOLD}docs/benchmarks.md{BOLD:#} is written");
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!(
        "{RED}✗{RED:#} not everything was measured; what the programs wrote meanwhile: {BOLD}{}{BOLD:#}",
        instance.logs_dir().display()
    );
    Ok(ExitCode::FAILURE)
}

/// A figure is called as its file is.
fn validate_names(figures: &[String]) -> Result<()> {
    let folder = instance::repository_root().join("bench/src/figures");
    match figures
        .iter()
        .find(|name| *name == "mod" || !folder.join(format!("{name}.rs")).exists())
    {
        Some(unknown) => bail!(
            "there is no figure {unknown}; each is a file of {}",
            folder.display()
        ),
        None => Ok(()),
    }
}

fn bench_command(system: &RunningSystem, built: &Executables, arguments: &BenchArgs) -> Result<Command> {
    let path = format!(
        "{}:{}",
        python::bin_dir().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new(services::executable_path(built, "bench")?);
    command
        .env("PATH", path)
        .args(&arguments.figures)
        .args(arguments.quick.then_some("--quick"))
        .args(arguments.json.then_some("--json"))
        .envs(system.addresses.env_vars(system.instance()))
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN");
    Ok(command)
}
