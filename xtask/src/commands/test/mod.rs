//! `cargo xtask test`: runs the workspace's tests against temporary systems.

mod schemathesis;

use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};

use crate::cargo::TestExecutable;
use crate::instance::{Instance, InstanceKind};
use crate::progress::{BOLD, DIM, GREEN, RED};
use crate::signals::Interrupt;
use crate::supervisor::{InstanceLock, shutdown};
use crate::system::{self, RunningSystem};
use crate::{TestArgs, cargo, python, services};

/// How many tests of one executable run concurrently.
const TEST_THREADS: &str = "8";

/// Filters of the end-to-end tests whose behaviour depends on the type of the state machine. These run with
/// an Express saga as well.
const EXPRESS_TEST_FILTERS: [&str; 7] = [
    "cancellation::",
    "carts::",
    "order_lifecycle::",
    "payments::",
    "replay::",
    "saga_matrix::",
    "stock::",
];

/// Runs the tests. The exit code is that of the first test command that failed.
///
/// # Errors
/// When a system does not start, or cargo cannot be run.
pub fn run(arguments: &TestArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let mut code = ExitCode::SUCCESS;
    if !arguments.express {
        code = test_with_fresh_system(InstanceKind::Test, &interrupt, |system| {
            let status = run_with_system(system, cargo_test_command(&arguments.arguments), &interrupt)?;
            if status.success() && arguments.arguments.is_empty() {
                return schemathesis::run(system, &interrupt);
            }
            Ok(status)
        })?;
        if code == ExitCode::SUCCESS && !arguments.arguments.is_empty() {
            anstream::eprintln!(
                "{DIM}… ran the selected tests only: no schemathesis, no tests with the Express saga{DIM:#}"
            );
            return Ok(code);
        }
    }
    if code == ExitCode::SUCCESS {
        anstream::eprintln!("\n{BOLD}With the Express saga:{BOLD:#} end-to-end tests of the order flow");
        code = test_with_fresh_system(InstanceKind::Express, &interrupt, |system| {
            let command = express_test_command(&e2e_test_executable()?, &arguments.arguments);
            run_with_system(system, command, &interrupt)
        })?;
    }
    if code == ExitCode::SUCCESS {
        anstream::eprintln!("{GREEN}✓{GREEN:#} all tests passed");
    }
    Ok(code)
}

/// Runs a test command with [`with_fresh_system`]; converts its exit status, and prints where the logs are if
/// it failed.
fn test_with_fresh_system(
    kind: InstanceKind,
    interrupt: &Interrupt,
    work: impl FnOnce(&mut RunningSystem) -> Result<ExitStatus>,
) -> Result<ExitCode> {
    let status = with_fresh_system(kind, interrupt, work)?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!(
        "{RED}✗{RED:#} tests failed; the logs of the services are in {BOLD}{}{BOLD:#}",
        Instance::new(kind).logs_dir().display()
    );
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Starts a system with empty data, runs `work` with it, stops the system and removes its data.
///
/// # Errors
/// When the system does not start, `work` fails, or the user interrupts the command.
pub fn with_fresh_system<T>(
    kind: InstanceKind,
    interrupt: &Interrupt,
    work: impl FnOnce(&mut RunningSystem) -> Result<T>,
) -> Result<T> {
    let instance = Instance::new(kind);
    let lock =
        InstanceLock::try_acquire(&instance)?.context("another test run of this checkout is in progress")?;
    shutdown::stop_orphans(&instance, &lock);
    system::wipe(&instance)?;
    let executables = system::prepare(&instance, interrupt)?;
    let mut system = RunningSystem::start(&instance, executables, None, interrupt)?;
    let result = work(&mut system);
    system.stop();
    services::remove_localstripe_file();
    system::wipe(&instance)?;
    let value = result?;
    interrupt.check()?;
    Ok(value)
}

fn cargo_test_command(arguments: &[String]) -> Command {
    let mut command = cargo::cargo_command();
    command.arg("test");
    // --workspace would override the packages that the arguments select.
    let selects_packages = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "-p" || argument == "--package" || argument.starts_with("--package="));
    if !selects_packages {
        command.arg("--workspace");
    }
    command.args(arguments);
    command
}

/// Runs the end-to-end tests that the arguments select, or else [`EXPRESS_TEST_FILTERS`].
fn express_test_command(executable: &TestExecutable, arguments: &[String]) -> Command {
    let mut command = Command::new(&executable.path);
    if arguments.is_empty() {
        command.args(EXPRESS_TEST_FILTERS);
    } else {
        command.args(arguments);
    }
    command
}

/// The executable of the end-to-end tests. It is run without cargo: `cargo test --package e2e` would unify
/// features differently and rebuild most dependencies.
fn e2e_test_executable() -> Result<TestExecutable> {
    cargo::test_executable("e2e", "it")
}

/// Runs a command with the environment of the tests, and supervises the system until the command exits.
///
/// # Errors
/// When the command cannot be run, or the system can no longer be supervised.
pub fn run_with_system(
    system: &mut RunningSystem,
    mut command: Command,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    let executable = command.get_program().display().to_string();
    let child = command
        .env("PATH", python::path_with_bin_dir())
        // Most tests wait for the system, so more of them can run concurrently than the machine has cores.
        .env("RUST_TEST_THREADS", TEST_THREADS)
        .envs(system.addresses.env_vars(system.instance()))
        .env(
            "LOCALSTRIPE_URL",
            format!("http://127.0.0.1:{}", system.addresses.port("localstripe")),
        )
        .env(
            "IDENTITY_PROVIDER_URL",
            system.addresses.identity_provider_url().unwrap_or_default(),
        )
        // Some tests start their own Redis, which they stop and kill.
        .envs(system.redis_executable().map(|path| ("REDIS_SERVER", path)))
        // Tests of this tool's commands run this executable.
        .env("XTASK", std::env::current_exe()?)
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .spawn()
        .with_context(|| format!("cannot run {executable}"))?;
    system.supervise_until_exit(child, interrupt)
}
