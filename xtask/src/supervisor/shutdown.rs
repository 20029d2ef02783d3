//! Ends processes: politely, then not.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{InstanceLock, POLL_INTERVAL, ProcessId, SystemState, signal_process_group};
use crate::instance::Instance;

/// How long the programs of a supervisor that is no more may take to stop, each.
const ORPHAN_STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Asks a process to stop, waits, and kills what is left of its group. `between` runs while waiting.
pub fn stop_gracefully(process: &ProcessId, signal: Signal, within: Duration, mut between: impl FnMut()) {
    // Only the leader is asked: the local AWS stops its functions and PostgreSQL its workers, in their own order.
    if process.is_running() {
        send_signal(process, signal);
    }
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        between();
        if !process.is_running() {
            break;
        }
        thread::sleep(POLL_INTERVAL);
    }
    signal_process_group(process.pid, Signal::KILL);
    between();
}

/// Sends a signal to a single process. That it is gone already is no error.
pub fn send_signal(process: &ProcessId, signal: Signal) {
    if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Stops what a supervisor that was killed left running. The caller holds the lock, which proves that there is no
/// supervisor. Returns the names of the programs that were still there.
pub fn stop_orphans(instance: &Instance, _proof: &InstanceLock) -> Vec<String> {
    let Some(state) = SystemState::read(instance) else {
        return Vec::new();
    };
    let mut stopped = Vec::new();
    for program in state.running_services().rev() {
        let Some(process) = &program.process else { continue };
        // PostgreSQL takes SIGTERM for "wait until the last client has gone"; SIGINT means at once, in good order.
        let signal = if program.name == "postgres" {
            Signal::INT
        } else {
            Signal::TERM
        };
        stop_gracefully(process, signal, ORPHAN_STOP_TIMEOUT, || {});
        stopped.push(program.name.clone());
    }
    remove_run_files(instance);
    stopped
}

/// Removes what is true only while a system runs. The lock file stays: its holder is still alive.
pub fn remove_run_files(instance: &Instance) {
    let _ = fs::remove_dir_all(instance.temp_dir());
    let _ = fs::remove_file(instance.run_dir().join("state.json"));
}
