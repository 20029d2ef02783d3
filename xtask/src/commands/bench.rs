//! `cargo xtask bench`: runs the benchmarks against release builds in a temporary system.

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

/// # Errors
/// When a benchmark does not exist, the system does not start, or the `bench` executable cannot be run.
pub fn run(arguments: &BenchArgs) -> Result<ExitCode> {
    // Fails before the release build, which takes ten minutes.
    validate_names(&arguments.benchmarks)?;
    let instance = Instance::new(InstanceKind::Bench);
    let interrupt = Interrupt::listen()?;
    let lock =
        InstanceLock::try_acquire(&instance)?.context("another bench run of this checkout is in progress")?;
    shutdown::stop_orphans(&instance, &lock);
    system::wipe(&instance)?;
    let executables = system::prepare(&instance, &interrupt)?;
    let pgbench = run_step("pgbench", |step| {
        let pgbench = Postgres::prepare(&instance, step)?.pgbench_path();
        if !pgbench.exists() {
            bail!(
                "{} is missing; Debian has it in the package postgresql-contrib",
                pgbench.display()
            );
        }
        Ok(pgbench)
    })?;
    // Only this benchmark needs dynoxide, which has to be compiled first.
    let dynoxide = if arguments.benchmarks.is_empty()
        || arguments.benchmarks.iter().any(|name| name == "order_throughput")
    {
        Some(run_step("dynoxide", dynoxide::find_or_install)?)
    } else {
        None
    };
    let mut system = RunningSystem::start(&instance, executables.clone(), None, &interrupt)?;
    let result = bench_command(&system, &executables, arguments).and_then(|mut command| {
        command
            .env("PGBENCH", pgbench)
            .envs(dynoxide.map(|dynoxide| ("DYNOXIDE", dynoxide)));
        system.supervise_until_exit(&mut command, &interrupt)
    });
    system.stop();
    system::wipe(&instance)?;
    let status = result?;
    interrupt.check()?;
    if status.success() {
        anstream::eprintln!("{GREEN}✓{GREEN:#} wrote {BOLD}docs/benchmarks.md{BOLD:#}");
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!(
        "{RED}✗{RED:#} a benchmark failed; the logs of the services are in {BOLD}{}{BOLD:#}",
        instance.logs_dir().display()
    );
    Ok(ExitCode::FAILURE)
}

/// The name of a benchmark is the name of its file.
fn validate_names(benchmarks: &[String]) -> Result<()> {
    let folder = instance::repository_root().join("bench/src/benchmarks");
    match benchmarks
        .iter()
        .find(|name| *name == "mod" || !folder.join(format!("{name}.rs")).exists())
    {
        Some(unknown) => bail!(
            "there is no benchmark {unknown}; the names are those of the files in {}",
            folder.display()
        ),
        None => Ok(()),
    }
}

fn bench_command(
    system: &RunningSystem,
    executables: &Executables,
    arguments: &BenchArgs,
) -> Result<Command> {
    let mut command = Command::new(services::executable_path(executables, "bench")?);
    command
        .env("PATH", python::path_with_bin_dir())
        .args(&arguments.benchmarks)
        .args(arguments.quick.then_some("--quick"))
        .args(arguments.json.then_some("--json"))
        .envs(system.addresses.env_vars(system.instance()))
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN");
    Ok(command)
}
