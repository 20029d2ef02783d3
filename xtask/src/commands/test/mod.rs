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

/// How many tests of one executable run concurrently: more than the machine has cores, because some of them
/// wait.
const TEST_THREADS: &str = "8";

/// How many end-to-end tests run concurrently. They wait most of the time, for messages and time-outs.
const END_TO_END_TEST_THREADS: &str = "20";

/// The package of the end-to-end tests.
const END_TO_END_TESTS: &str = "e2e";

/// Filters of the end-to-end tests whose behaviour depends on the type of the state machine. These run with
/// an Express saga as well.
const EXPRESS_TEST_FILTERS: [&str; 8] = [
    "cancellation::",
    "carts::",
    "fault_cases::saga_matrix::",
    "order_lifecycle::",
    "payment_authentication::",
    "payments::",
    "replay::",
    "stock::",
];

/// The tests of the roles' rights (`e2e/tests/it/role_rights.rs`), as filters. The tests with an Express saga
/// do not use all functions, so only missing rights are found there.
const ALL_ROLE_TESTS: &str = "role_rights::";
const MISSING_RIGHTS_TEST: &str = "role_rights::functions_have_the_rights_that_they_use";

/// Runs the tests. The exit code is that of the first test command that failed.
///
/// # Errors
/// When a system does not start, or cargo cannot be run.
pub fn run(arguments: &TestArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let code = match arguments {
        TestArgs {
            express: true,
            arguments,
        } => test_with_express_saga(arguments, &interrupt)?,
        TestArgs { arguments, .. } if arguments.is_empty() => run_all(&interrupt)?,
        TestArgs { arguments, .. } => test_with_fresh_system(InstanceKind::Test, &interrupt, |system| {
            run_with_system(system, cargo_test_command(arguments), &interrupt)
        })?,
    };
    if code == ExitCode::SUCCESS {
        anstream::eprintln!("{GREEN}✓{GREEN:#} all tests passed");
        if !arguments.express && !arguments.arguments.is_empty() {
            anstream::eprintln!(
                "{DIM}… these were the selected tests only: no schemathesis, no tests with the Express \
                 saga{DIM:#}"
            );
        }
    }
    Ok(code)
}

/// Runs the tests of this tool, and then all others, with both types of the state machine.
fn run_all(interrupt: &Interrupt) -> Result<ExitCode> {
    let status = run_own_tests()?;
    interrupt.check()?;
    if !status.success() {
        return Ok(exit_code(status));
    }
    let code = test_with_fresh_system(InstanceKind::Test, interrupt, |system| {
        let executables = cargo::all_test_executables()?;
        let mut status = run_test_executables(system, &executables, interrupt, |_| Ok(()))?;
        if status.success() {
            status = run_with_system(system, cargo_test_command(&["--doc".to_owned()]), interrupt)?;
        }
        if status.success() {
            status = check_role_rights(system, ALL_ROLE_TESTS, interrupt)?;
        }
        if status.success() {
            status = schemathesis::run(system, interrupt)?;
        }
        Ok(status)
    })?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    anstream::eprintln!("\n{BOLD}With the Express saga:{BOLD:#} end-to-end tests of the order flow");
    test_with_express_saga(&[], interrupt)
}

/// Runs end-to-end tests of the order flow, or the selected ones, with an Express state machine.
fn test_with_express_saga(filters: &[String], interrupt: &Interrupt) -> Result<ExitCode> {
    test_with_fresh_system(InstanceKind::Express, interrupt, |system| {
        let executables = cargo::test_executables(END_TO_END_TESTS, None)?;
        let status = run_test_executables(system, &executables, interrupt, |command| {
            if filters.is_empty() {
                command.args(EXPRESS_TEST_FILTERS);
            } else {
                command.args(filters);
            }
            Ok(())
        })?;
        if status.success() && filters.is_empty() {
            return check_role_rights(system, MISSING_RIGHTS_TEST, interrupt);
        }
        Ok(status)
    })
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
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Runs the tests of this tool, which is a workspace of its own.
fn run_own_tests() -> Result<ExitStatus> {
    cargo::cargo_command()
        .args([
            "test",
            "--quiet",
            "--locked",
            "--manifest-path",
            "xtask/Cargo.toml",
        ])
        .status()
        .context("cargo cannot be run")
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
    command.arg("test").env("RUST_TEST_THREADS", TEST_THREADS);
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

/// Runs test executables one after another, each with the arguments and the output that `configure` sets.
/// Returns the status of the first that failed, or success.
///
/// They are run without cargo: `cargo test --package NAME` would unify features differently and rebuild most
/// dependencies.
///
/// # Errors
/// When an executable cannot be run, the system can no longer be supervised, or the user interrupts.
pub fn run_test_executables(
    system: &mut RunningSystem,
    executables: &[TestExecutable],
    interrupt: &Interrupt,
    configure: impl Fn(&mut Command) -> Result<()>,
) -> Result<ExitStatus> {
    let mut status = ExitStatus::default();
    for executable in executables {
        let mut command = Command::new(&executable.path);
        command
            .current_dir(&executable.package_dir)
            .env("RUST_TEST_THREADS", test_threads(executable));
        configure(&mut command)?;
        anstream::eprintln!(
            "\n{BOLD}{}{BOLD:#} {}",
            executable.package_dir.display(),
            executable.target
        );
        status = run_with_system(system, command, interrupt)?;
        // Ctrl-C ends the tests as well; their failure is then an interruption and not a result.
        interrupt.check()?;
        if !status.success() {
            break;
        }
    }
    Ok(status)
}

fn test_threads(executable: &TestExecutable) -> &'static str {
    if executable.is_of(END_TO_END_TESTS) {
        END_TO_END_TEST_THREADS
    } else {
        TEST_THREADS
    }
}

/// Compares the rights of each function's role with what the function asked of AWS in all tests before.
fn check_role_rights(system: &mut RunningSystem, filter: &str, interrupt: &Interrupt) -> Result<ExitStatus> {
    let executables = cargo::test_executables(END_TO_END_TESTS, Some("it"))?;
    run_test_executables(system, &executables, interrupt, |command| {
        command.args([filter, "--ignored"]);
        Ok(())
    })
}

/// Runs a command with the environment of the tests, and supervises the system until the command exits.
///
/// # Errors
/// When the command cannot be run, or the system can no longer be supervised.
fn run_with_system(
    system: &mut RunningSystem,
    mut command: Command,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    command
        .env("PATH", python::path_with_bin_dir())
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
        .env_remove("AWS_SESSION_TOKEN");
    system.supervise_until_exit(&mut command, interrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter of a module that was renamed would select no test, and no test would fail.
    #[test]
    fn express_test_filters_name_existing_modules() {
        let tests = crate::instance::repository_root().join("e2e/tests");
        for filter in EXPRESS_TEST_FILTERS {
            let module = filter.strip_suffix("::").expect("a filter is a module");
            let module = module.replace("::", "/");
            let exists = ["it", "exclusive"].into_iter().any(|executable| {
                let folder = tests.join(executable);
                folder.join(format!("{module}.rs")).is_file() || folder.join(&module).is_dir()
            });
            assert!(exists, "no module {module} in {}", tests.display());
        }
    }
}
