//! `cargo xtask up`: everything, in the foreground or left running.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::environment::Addresses;
use crate::paths::{Instance, Kind};
use crate::progress::{BOLD, DIM, GREEN};
use crate::signals::Interrupt;
use crate::supervise::{Lock, Phase, ProcessId, State, TICK, stop};
use crate::system::{self, System, wanted_database};
use crate::{Up, cargo};

/// How the supervising process of a detached system is called in logs.
const SUPERVISOR: &str = "supervisor";

/// Brings the system up.
///
/// # Errors
/// That of the step that failed, or that the system runs already.
pub fn run(arguments: &Up) -> Result<ExitCode> {
    let instance = Instance::of(Kind::Development);
    let interrupt = Interrupt::listen()?;
    if arguments.supervise {
        return stay(&instance, &interrupt);
    }
    let Some(lock) = Lock::take(&instance)? else {
        return already_running(&instance, arguments, &interrupt);
    };
    for name in stop::orphans(&instance, &lock) {
        anstream::eprintln!("  {DIM}…{DIM:#} stopped {name}, which a killed `up` had left running");
    }
    if arguments.fresh {
        system::wipe(&instance)?;
    }
    let built = system::prepare(&instance, &interrupt)?;
    if arguments.detach {
        drop(lock);
        detach(&instance, &interrupt)
    } else {
        let system = System::up(&instance, built, wanted_database(&instance), &interrupt)?;
        greet(&system.addresses, "Ctrl-C");
        watch(system, &interrupt)
    }
}

/// The process that `--detach` leaves behind.
fn stay(instance: &Instance, interrupt: &Interrupt) -> Result<ExitCode> {
    // A session of its own: the terminal's end is not ours.
    rustix::process::setsid().context("cannot leave the terminal")?;
    let _lock = Lock::take(instance)?.context("another process has just started this system")?;
    let system = System::up(instance, cargo::built()?, wanted_database(instance), interrupt)?;
    watch(system, interrupt)
}

fn watch(mut system: System, interrupt: &Interrupt) -> Result<ExitCode> {
    while !interrupt.is_set() {
        if let Err(error) = system.look(interrupt) {
            system.stop();
            return Err(error);
        }
        thread::sleep(TICK);
    }
    // The terminal has just shown "^C" on this line.
    anstream::eprintln!();
    system.stop();
    Ok(ExitCode::SUCCESS)
}

fn detach(instance: &Instance, interrupt: &Interrupt) -> Result<ExitCode> {
    fs::create_dir_all(instance.logs())?;
    let path = instance.log(SUPERVISOR);
    let _ = fs::rename(&path, path.with_extension("previous.log"));
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["up", "--supervise"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")?;
    let result = await_ready(instance, &mut child, &path, interrupt);
    if result.is_ok() {
        greet(&Addresses::remembered(instance), "cargo xtask down");
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// Repeats what the supervisor says until everything is ready.
fn await_ready(instance: &Instance, child: &mut Child, log: &Path, interrupt: &Interrupt) -> Result<()> {
    let mut shown = 0;
    loop {
        let exited = child.try_wait()?;
        shown = show_from(log, shown)?;
        if exited.is_some() {
            bail!(
                "the system did not come up; {} has the whole story",
                log.display()
            );
        }
        let ready = State::read(instance)
            .is_some_and(|state| state.phase == Phase::Ready && state.supervisor.pid == child.id());
        if ready {
            show_from(log, shown)?;
            return Ok(());
        }
        if interrupt.is_set() {
            if let Some(process) = ProcessId::of(child.id()) {
                stop::send(&process, Signal::TERM);
            }
            child.wait()?;
            show_from(log, shown)?;
        }
        interrupt.check()?;
        thread::sleep(TICK);
    }
}

/// Shows the whole lines of a log from an offset on; returns the offset of the next one.
fn show_from(log: &Path, offset: u64) -> Result<u64> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let end = text.rfind('\n').map_or(0, |position| position + 1);
    for line in text[..end].lines() {
        // The supervisor writes into a file, so without colour.
        anstream::eprintln!("{}", line.replacen('✓', &format!("{GREEN}✓{GREEN:#}"), 1));
    }
    Ok(offset + end as u64)
}

fn already_running(instance: &Instance, arguments: &Up, interrupt: &Interrupt) -> Result<ExitCode> {
    if arguments.fresh {
        bail!(
            "the system is running; `cargo xtask down` first, so that nothing writes into the data that goes"
        );
    }
    if !arguments.detach {
        bail!(
            "the system is running already ({}); `cargo xtask status` shows it, `cargo xtask down` stops it",
            Lock::holder(instance).map_or_else(String::new, |holder| format!("process {}", holder.pid))
        );
    }
    while State::read(instance).is_none_or(|state| state.phase != Phase::Ready) {
        interrupt.check()?;
        if Lock::take(instance)?.is_some() {
            bail!("the system was about to start and did not come up; try again");
        }
        thread::sleep(TICK);
    }
    anstream::eprintln!("  {GREEN}✓{GREEN:#} running already");
    greet(&Addresses::remembered(instance), "cargo xtask down");
    Ok(ExitCode::SUCCESS)
}

fn greet(addresses: &Addresses, stop_with: &str) {
    let core_api = addresses.core_api();
    let rows = [
        (
            "front door",
            addresses.front_door(),
            "where clients come in".to_owned(),
        ),
        ("core-api", core_api.clone(), format!("try it at {core_api}/docs")),
        ("stock-service", addresses.stock_service(), String::new()),
        (
            "payment-provider",
            addresses.payment_provider(),
            "stands in for the third party".to_owned(),
        ),
        (
            "local AWS",
            addresses.aws(),
            "MiniStack; awslocal speaks to it".to_owned(),
        ),
        ("PostgreSQL", addresses.shown_database(), String::new()),
    ];
    anstream::println!("\n{BOLD}Matsuri is up.{BOLD:#}\n");
    for (name, address, remark) in rows {
        anstream::println!("  {name:18} {BOLD}{address}{BOLD:#}  {DIM}{remark}{DIM:#}");
    }
    let hints = [
        ("cargo xtask order", "place an order and watch its way"),
        (
            ". .local/env && awslocal sqs list-queues",
            "look into the local AWS with the commands you know",
        ),
        ("cargo xtask logs --follow", "read along"),
        (stop_with, "stop it; the data stays"),
    ];
    anstream::println!("\n{BOLD}Next{BOLD:#}\n");
    for (command, purpose) in hints {
        anstream::println!("  {GREEN}{command:42}{GREEN:#} {DIM}{purpose}{DIM:#}");
    }
    anstream::println!();
}
