//! `cargo xtask test`: the workspace's tests, against a system that nobody else uses.

use std::process::{Child, ExitCode, ExitStatus};
use std::thread;

use anyhow::{Context, Result};

use crate::paths::{Instance, Kind};
use crate::progress::{BOLD, GREEN, RED};
use crate::signals::Interrupt;
use crate::supervise::{Lock, TICK, stop};
use crate::system::{self, System};
use crate::{Test, cargo, programs, python};

/// How many tests of one program run at once.
const TEST_THREADS: &str = "8";

/// Runs the tests; their verdict is ours.
///
/// # Errors
/// When the system does not come up, or cargo cannot be run.
pub fn run(arguments: &Test) -> Result<ExitCode> {
    let instance = Instance::of(Kind::Test);
    let interrupt = Interrupt::listen()?;
    let lock = Lock::take(&instance)?.context("another test run of this checkout is under way")?;
    stop::orphans(&instance, &lock);
    system::wipe(&instance)?;
    let built = system::prepare(&instance, &interrupt)?;
    let mut system = System::up(&instance, built, None, &interrupt)?;
    let result = start_tests(&system, &arguments.arguments)
        .and_then(|child| supervise(&mut system, child, &interrupt));
    system.stop();
    programs::tidy_up_after_localstripe();
    system::wipe(&instance)?;
    let status = result?;
    interrupt.check()?;
    if status.success() {
        anstream::eprintln!("{GREEN}✓{GREEN:#} all tests passed");
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!(
        "{RED}✗{RED:#} tests failed; what the programs wrote meanwhile: {BOLD}{}{BOLD:#}",
        instance.logs().display()
    );
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn start_tests(system: &System, arguments: &[String]) -> Result<Child> {
    let mut command = cargo::cargo();
    command.arg("test");
    // cargo would let --workspace win over the packages that the person names.
    let names_packages = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "-p" || argument == "--package" || argument.starts_with("--package="));
    if !names_packages {
        command.arg("--workspace");
    }
    let path = format!(
        "{}:{}",
        python::commands().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    command
        .args(arguments)
        .env("PATH", path)
        // Tests wait more than they compute; with a thread a core they would wait one after the other.
        .env("RUST_TEST_THREADS", TEST_THREADS)
        .envs(system.addresses.variables(system.instance()))
        .env(
            "LOCALSTRIPE_URL",
            format!("http://127.0.0.1:{}", system.addresses.port("localstripe")),
        )
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .spawn()
        .context("cannot run cargo test")
}

/// Keeps the system up until the tests have ended.
fn supervise(system: &mut System, mut tests: Child, interrupt: &Interrupt) -> Result<ExitStatus> {
    loop {
        if let Some(status) = tests.try_wait()? {
            return Ok(status);
        }
        if interrupt.is_set() {
            // A Ctrl-C has reached the tests as well; a SIGTERM has not.
            tests.kill()?;
        }
        system.look(interrupt)?;
        thread::sleep(TICK);
    }
}
