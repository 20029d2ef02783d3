//! `cargo xtask up`: starts the system, in the foreground or in the background.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::environment::Addresses;
use crate::instance::{Instance, InstanceKind};
use crate::progress::{BOLD, DIM, GREEN};
use crate::signals::Interrupt;
use crate::supervisor::{InstanceLock, POLL_INTERVAL, Phase, ProcessId, SystemState, shutdown};
use crate::system::{self, RunningSystem, external_database_from_env};
use crate::{UpArgs, cargo};

/// The name of the background supervisor's log.
const SUPERVISOR_LOG: &str = "supervisor";

/// # Errors
/// When a step fails, or the system is already running.
pub fn run(arguments: &UpArgs) -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Development);
    let interrupt = Interrupt::listen()?;
    if arguments.supervise {
        return run_supervisor(&instance, &interrupt);
    }
    let Some(lock) = InstanceLock::try_acquire(&instance)? else {
        return handle_already_running(&instance, arguments, &interrupt);
    };
    for name in shutdown::stop_orphans(&instance, &lock) {
        anstream::eprintln!("  {DIM}…{DIM:#} stopped {name}, which a killed `up` left running");
    }
    if arguments.fresh {
        system::wipe(&instance)?;
    }
    let executables = system::prepare(&instance, &interrupt)?;
    if arguments.detach {
        drop(lock);
        detach(&instance, &interrupt)
    } else {
        let system = RunningSystem::start(
            &instance,
            executables,
            external_database_from_env(&instance),
            &interrupt,
        )?;
        print_banner(&system.addresses, "Ctrl-C");
        supervise(system, &interrupt)
    }
}

/// Runs the background supervisor that `--detach` starts.
fn run_supervisor(instance: &Instance, interrupt: &Interrupt) -> Result<ExitCode> {
    // A separate session, so that the process does not end with the terminal.
    rustix::process::setsid().context("cannot create a session")?;
    let _lock = InstanceLock::try_acquire(instance)?
        .context("another process has started this system in the meantime")?;
    let system = RunningSystem::start(
        instance,
        cargo::last_build()?,
        external_database_from_env(instance),
        interrupt,
    )?;
    supervise(system, interrupt)
}

fn supervise(mut system: RunningSystem, interrupt: &Interrupt) -> Result<ExitCode> {
    while !interrupt.is_set() {
        if let Err(error) = system.poll(interrupt) {
            system.stop();
            return Err(error);
        }
        thread::sleep(POLL_INTERVAL);
    }
    // Ends the line on which the terminal has shown "^C".
    anstream::eprintln!();
    system.stop();
    Ok(ExitCode::SUCCESS)
}

fn detach(instance: &Instance, interrupt: &Interrupt) -> Result<ExitCode> {
    fs::create_dir_all(instance.logs_dir())?;
    let path = instance.log_file(SUPERVISOR_LOG);
    let _ = fs::rename(&path, path.with_extension("previous.log"));
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["up", "--supervise"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")?;
    let result = wait_until_ready(instance, &mut child, &path, interrupt);
    if result.is_ok() {
        print_banner(&Addresses::from_last_run(instance), "cargo xtask down");
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// Prints the supervisor's log until the system is ready.
fn wait_until_ready(instance: &Instance, child: &mut Child, log: &Path, interrupt: &Interrupt) -> Result<()> {
    let mut shown = 0;
    loop {
        let exited = child.try_wait()?;
        shown = print_log_from(log, shown)?;
        if exited.is_some() {
            bail!("the system did not start; the whole log is in {}", log.display());
        }
        let ready = SystemState::read(instance)
            .is_some_and(|state| state.phase == Phase::Ready && state.supervisor.pid == child.id());
        if ready {
            print_log_from(log, shown)?;
            return Ok(());
        }
        if interrupt.is_set() {
            if let Some(process) = ProcessId::from_pid(child.id()) {
                shutdown::send_signal(&process, Signal::TERM);
            }
            child.wait()?;
            print_log_from(log, shown)?;
        }
        interrupt.check()?;
        thread::sleep(POLL_INTERVAL);
    }
}

/// Prints the complete lines of a log from an offset on; returns the offset of the next line.
fn print_log_from(log: &Path, offset: u64) -> Result<u64> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let end = text.rfind('\n').map_or(0, |position| position + 1);
    for line in text[..end].lines() {
        // The supervisor writes to a file, so its output has no colours.
        anstream::eprintln!("{}", line.replacen('✓', &format!("{GREEN}✓{GREEN:#}"), 1));
    }
    Ok(offset + end as u64)
}

fn handle_already_running(
    instance: &Instance,
    arguments: &UpArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    if arguments.fresh {
        bail!("the system is running, and --fresh deletes its data; stop it first with `cargo xtask down`");
    }
    if !arguments.detach {
        bail!(
            "the system is already running ({}); `cargo xtask status` shows it, `cargo xtask down` stops it",
            InstanceLock::holder(instance).map_or_else(
                || "its process has just exited".to_owned(),
                |holder| format!("process {}", holder.pid)
            )
        );
    }
    while SystemState::read(instance).is_none_or(|state| state.phase != Phase::Ready) {
        interrupt.check()?;
        if InstanceLock::try_acquire(instance)?.is_some() {
            bail!("the other command that was starting the system has failed; try again");
        }
        thread::sleep(POLL_INTERVAL);
    }
    anstream::eprintln!("  {GREEN}✓{GREEN:#} already running");
    print_banner(&Addresses::from_last_run(instance), "cargo xtask down");
    Ok(ExitCode::SUCCESS)
}

fn print_banner(addresses: &Addresses, stop_with: &str) {
    let core_api = addresses.core_api_url();
    let rows = [
        (
            "API gateway",
            addresses.gateway_url(),
            "the public entry point".to_owned(),
        ),
        (
            "core-api",
            core_api.clone(),
            format!("interactive API documentation at {core_api}/docs"),
        ),
        ("stock-service", addresses.stock_service_url(), String::new()),
        (
            "payment-provider",
            addresses.payment_provider_url(),
            "simulator of the third party".to_owned(),
        ),
        (
            "local AWS",
            addresses.aws_endpoint_url(),
            "MiniStack; use it with awslocal".to_owned(),
        ),
        ("PostgreSQL", addresses.display_database(), String::new()),
    ];
    anstream::println!("\n{BOLD}Matsuri is running.{BOLD:#}\n");
    for (name, address, remark) in rows {
        anstream::println!("  {name:18} {BOLD}{address}{BOLD:#}  {DIM}{remark}{DIM:#}");
    }
    let hints = [
        ("cargo xtask order", "place an order and follow it"),
        (
            ". .local/env && awslocal sqs list-queues",
            "use the local AWS with the AWS CLI",
        ),
        ("cargo xtask logs --follow", "follow all logs"),
        (stop_with, "stop the system; its data stays"),
    ];
    anstream::println!("\n{BOLD}Next{BOLD:#}\n");
    for (command, purpose) in hints {
        anstream::println!("  {GREEN}{command:42}{GREEN:#} {DIM}{purpose}{DIM:#}");
    }
    anstream::println!();
}
