//! `cargo xtask test`: the workspace's tests, against systems that nobody else uses.

mod schemathesis;

use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};

use crate::instance::{Instance, InstanceKind};
use crate::progress::{BOLD, DIM, GREEN, RED};
use crate::signals::Interrupt;
use crate::supervisor::{InstanceLock, shutdown};
use crate::system::{self, RunningSystem};
use crate::{TestArgs, cargo, python, services};

/// How many tests of one program run at once.
const TEST_THREADS: &str = "8";

/// The end-to-end tests that depend on what kind of executions carry the orders: these run with Express ones as well.
const EXPRESS_TEST_FILTERS: [&str; 7] = [
    "cancellation::",
    "carts::",
    "order_lifecycle::",
    "payments::",
    "replay::",
    "saga_matrix::",
    "stock::",
];

/// Runs the tests; their verdict is ours.
///
/// # Errors
/// When a system does not come up, or cargo cannot be run.
pub fn run(arguments: &TestArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let mut code = ExitCode::SUCCESS;
    if !arguments.express {
        code = with_fresh_system(InstanceKind::Test, &interrupt, |system| {
            let status = run_with_system(system, cargo_test_command(&arguments.arguments), &interrupt)?;
            if status.success() && arguments.arguments.is_empty() {
                return schemathesis::run(system, &interrupt);
            }
            Ok(status)
        })?;
        if code == ExitCode::SUCCESS && !arguments.arguments.is_empty() {
            anstream::eprintln!(
                "{DIM}… as you chose the tests: not against the API's description, not with Express executions{DIM:#}"
            );
            return Ok(code);
        }
    }
    if code == ExitCode::SUCCESS {
        anstream::eprintln!("\n{BOLD}With Express executions:{BOLD:#} what makes the course of an order");
        code = with_fresh_system(InstanceKind::Express, &interrupt, |system| {
            let tests = Command::new(e2e_test_executable()?);
            run_with_system(
                system,
                express_test_command(tests, &arguments.arguments),
                &interrupt,
            )
        })?;
    }
    if code == ExitCode::SUCCESS {
        anstream::eprintln!("{GREEN}✓{GREEN:#} all tests passed");
    }
    Ok(code)
}

/// Brings a fresh system up, has something done with it, and takes it down again.
fn with_fresh_system(
    kind: InstanceKind,
    interrupt: &Interrupt,
    work: impl FnOnce(&mut RunningSystem) -> Result<ExitStatus>,
) -> Result<ExitCode> {
    let instance = Instance::new(kind);
    let lock =
        InstanceLock::try_acquire(&instance)?.context("another test run of this checkout is under way")?;
    shutdown::stop_orphans(&instance, &lock);
    system::wipe(&instance)?;
    let built = system::prepare(&instance, interrupt)?;
    let mut system = RunningSystem::start(&instance, built, None, interrupt)?;
    let result = work(&mut system);
    system.stop();
    services::remove_localstripe_file();
    system::wipe(&instance)?;
    let status = result?;
    interrupt.check()?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!(
        "{RED}✗{RED:#} tests failed; what the programs wrote meanwhile: {BOLD}{}{BOLD:#}",
        instance.logs_dir().display()
    );
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn cargo_test_command(arguments: &[String]) -> Command {
    let mut command = cargo::cargo_command();
    command.arg("test");
    // cargo would let --workspace win over the packages that the person names.
    let names_packages = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "-p" || argument == "--package" || argument.starts_with("--package="));
    if !names_packages {
        command.arg("--workspace");
    }
    command.args(arguments);
    command
}

/// The end-to-end tests that the person names, otherwise those that make the course of an order.
fn express_test_command(mut command: Command, arguments: &[String]) -> Command {
    if arguments.is_empty() {
        command.args(EXPRESS_TEST_FILTERS);
    } else {
        command.args(arguments);
    }
    command
}

/// The program of the end-to-end tests. It is run as it is: to name one package to cargo would unify features anew,
/// and rebuild most dependencies.
fn e2e_test_executable() -> Result<PathBuf> {
    cargo::test_executable("e2e", "it")
}

/// Runs a command in the surroundings of the tests, and keeps the system up until it has ended.
fn run_with_system(
    system: &mut RunningSystem,
    mut command: Command,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    let path = format!(
        "{}:{}",
        python::bin_dir().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let name = command.get_program().display().to_string();
    let child = command
        .env("PATH", path)
        // Tests wait more than they compute; with a thread a core they would wait one after the other.
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
        // Some tests have a Redis of their own, which they stop and kill.
        .envs(system.redis_executable().map(|program| ("REDIS_SERVER", program)))
        // Tests that run commands of this tool run this very one.
        .env("XTASK", std::env::current_exe()?)
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    system.supervise_until_exit(child, interrupt)
}
