//! `cargo xtask repeat`: runs end-to-end tests repeatedly beside CPU hogs, to find tests that fail on slow
//! machines. Each run has a fresh system, because some tests leave it changed: they rotate keys, for example.

use std::fs::File;
use std::num::NonZero;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use super::test::{run_test_executables, with_fresh_system};
use crate::cargo::TestExecutable;
use crate::cpu_hogs::CpuHogs;
use crate::instance::InstanceKind;
use crate::progress::{BOLD, GREEN, RED, run_step};
use crate::signals::Interrupt;
use crate::system::RunningSystem;
use crate::{RepeatArgs, cargo, logs};

/// How many lines of the log of a failed run are printed.
const LOG_TAIL_LINES: usize = 60;

/// # Errors
/// When the system does not start, there is no such test executable, or the user interrupts the command.
pub fn run(arguments: &RepeatArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let kind = if arguments.express {
        InstanceKind::Express
    } else {
        InstanceKind::Test
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let hog_count = arguments.cpu_hogs.unwrap_or(cores);
    let mut summary = Summary::default();
    for run in 1..=arguments.runs {
        let has_passed = with_fresh_system(kind, &interrupt, |system| {
            let executables = cargo::test_executables(&arguments.package, arguments.test.as_deref())?;
            anstream::eprintln!(
                "\n{BOLD}{} {}{BOLD:#} beside {hog_count} CPU hogs on {cores} cores",
                arguments.package,
                arguments.arguments.join(" "),
            );
            // Dropped, and so stopped, before the system stops.
            let _hogs = CpuHogs::start(hog_count)?;
            run_once(system, &executables, arguments, run, &interrupt)
        })?;
        if has_passed {
            summary.passed += 1;
        } else {
            summary.failed += 1;
            if !arguments.keep_going {
                break;
            }
        }
    }
    let (mark, style) = if summary.failed == 0 {
        ("✓", GREEN)
    } else {
        ("✗", RED)
    };
    anstream::eprintln!(
        "{style}{mark}{style:#} {} of {} runs passed, {} failed, {} not run",
        summary.passed,
        arguments.runs,
        summary.failed,
        arguments.runs - summary.passed - summary.failed
    );
    Ok(if summary.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The numbers of finished runs.
#[derive(Debug, Default)]
struct Summary {
    passed: u32,
    failed: u32,
}

/// The tests of a run failed, as opposed to an error of this command.
#[derive(Debug)]
struct TestsFailed(ExitStatus);

impl std::fmt::Display for TestsFailed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the tests failed ({})", self.0)
    }
}

impl std::error::Error for TestsFailed {}

/// Runs the tests once, and returns whether they passed.
fn run_once(
    system: &mut RunningSystem,
    executables: &[TestExecutable],
    arguments: &RepeatArgs,
    run: u32,
    interrupt: &Interrupt,
) -> Result<bool> {
    let log = system.instance().log_file(&format!("repeat-{run}"));
    let title = format!("Run {run} of {}", arguments.runs);
    match run_step(&title, |step| {
        let status = run_with_log(system, executables, &arguments.arguments, &log, interrupt)?;
        if !status.success() {
            step.set_outcome("failed");
            bail!(TestsFailed(status));
        }
        step.set_outcome("passed");
        Ok(())
    }) {
        Ok(()) => Ok(true),
        Err(error) if error.is::<TestsFailed>() => {
            print_failure(&error, &log, system)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Runs the tests with their output in `log`.
fn run_with_log(
    system: &mut RunningSystem,
    executables: &[TestExecutable],
    arguments: &[String],
    log: &Path,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    run_test_executables(system, executables, interrupt, |command| {
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        Ok(())
    })
}

fn print_failure(error: &anyhow::Error, log: &Path, system: &RunningSystem) -> Result<()> {
    anstream::eprintln!("{}\n", logs::tail(log, LOG_TAIL_LINES)?);
    anstream::eprintln!(
        "{RED}✗{RED:#} {error}\n    output of the run:    {BOLD}{}{BOLD:#}\n    \
         logs of the services: {BOLD}{}{BOLD:#}",
        log.display(),
        system.instance().logs_dir().display()
    );
    Ok(())
}
