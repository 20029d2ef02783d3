//! Stops processes: gracefully first, then with SIGKILL.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{InstanceLock, POLL_INTERVAL, ProcessId, SystemState, signal_process_group};
use crate::instance::Instance;

/// How long each orphaned service may take to stop before it is killed.
const ORPHAN_STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Sends `signal` to a process, waits for its exit for at most `timeout`, and kills what remains of its
/// process group. Calls `on_poll` at each poll while it waits.
pub fn stop_gracefully(process: &ProcessId, signal: Signal, timeout: Duration, mut on_poll: impl FnMut()) {
    // Only the leader gets the signal: the local AWS stops its functions, and PostgreSQL its workers, in
    // their own order.
    if process.is_running() {
        send_signal(process, signal);
    }
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        on_poll();
        if !process.is_running() {
            break;
        }
        thread::sleep(POLL_INTERVAL);
    }
    signal_process_group(process.pid, Signal::KILL);
    on_poll();
}

/// Sends a signal to a single process. Does nothing if the process no longer exists.
pub fn send_signal(process: &ProcessId, signal: Signal) {
    if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Stops the services that a killed supervisor left running. The lock proves that no supervisor runs now.
/// Returns the names of the stopped services.
pub fn stop_orphans(instance: &Instance, _proof: &InstanceLock) -> Vec<String> {
    let Some(state) = SystemState::read(instance) else {
        return Vec::new();
    };
    let mut stopped = Vec::new();
    for service in state.running_services().rev() {
        let Some(process) = &service.process else { continue };
        // For PostgreSQL, SIGTERM means to wait until the last client has disconnected; SIGINT is a fast,
        // clean shutdown.
        let signal = if service.name == "postgres" {
            Signal::INT
        } else {
            Signal::TERM
        };
        stop_gracefully(process, signal, ORPHAN_STOP_TIMEOUT, || {});
        stopped.push(service.name.clone());
    }
    remove_run_files(instance);
    stopped
}

/// Removes the files that are valid only while the instance runs. The lock file stays, because its holder
/// still runs.
pub fn remove_run_files(instance: &Instance) {
    let _ = fs::remove_dir_all(instance.temp_dir());
    let _ = fs::remove_file(instance.run_dir().join("state.json"));
}
