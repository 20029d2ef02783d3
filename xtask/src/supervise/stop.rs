//! Ends processes: politely, then not.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Lock, ProcessId, State, TICK, signal_group};
use crate::paths::Instance;

/// How long the programs of a supervisor that is no more may take to stop, each.
const ORPHAN_WITHIN: Duration = Duration::from_secs(15);

/// Asks a process to stop, waits, and kills what is left of its group. `between` runs while waiting.
pub fn gracefully(process: &ProcessId, signal: Signal, within: Duration, mut between: impl FnMut()) {
    // Only the leader is asked: the local AWS stops its functions and PostgreSQL its workers, in their own order.
    if process.is_running() {
        send(process, signal);
    }
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        between();
        if !process.is_running() {
            break;
        }
        thread::sleep(TICK);
    }
    signal_group(process.pid, Signal::KILL);
    between();
}

/// Sends a signal to a single process. That it is gone already is no error.
pub fn send(process: &ProcessId, signal: Signal) {
    if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Stops what a supervisor that was killed left running. The caller holds the lock, which proves that there is no
/// supervisor. Returns the names of the programs that were still there.
pub fn orphans(instance: &Instance, _proof: &Lock) -> Vec<String> {
    let Some(state) = State::read(instance) else {
        return Vec::new();
    };
    let mut stopped = Vec::new();
    for program in state.running().rev() {
        let Some(process) = &program.process else { continue };
        // PostgreSQL takes SIGTERM for "wait until the last client has gone"; SIGINT means at once, in good order.
        let signal = if program.name == "postgres" {
            Signal::INT
        } else {
            Signal::TERM
        };
        gracefully(process, signal, ORPHAN_WITHIN, || {});
        stopped.push(program.name.clone());
    }
    clear_run(instance);
    stopped
}

/// Removes what is true only while a system runs. The lock file stays: its holder is still alive.
pub fn clear_run(instance: &Instance) {
    let _ = fs::remove_dir_all(instance.temporary());
    let _ = fs::remove_file(instance.run().join("state.json"));
}
