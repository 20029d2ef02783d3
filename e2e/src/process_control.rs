//! Kills the services of a local system and waits for their restart.
//!
//! The supervisor in `cargo xtask` restarts a service that exits, and writes the process ids of all services
//! to a state file in the instance's folder.

use std::{env, fs, path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

/// Longer than the supervisor's longest restart backoff, which is half a minute.
const RESTART_TIMEOUT: Duration = Duration::from_secs(120);

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Controls the supervised services of one instance.
#[derive(Clone, Debug)]
pub struct ProcessControl(PathBuf);

#[derive(Debug, thiserror::Error)]
pub enum ProcessControlError {
    #[error("MATSURI_LOCAL is not set: `cargo xtask test` and `cargo xtask chaos` set this variable")]
    MissingInstanceDir,
    /// The supervisor's state file is missing or malformed.
    #[error("cannot read the supervisor's state file {0}")]
    UnreadableState(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service does not exist, is stopped, or has not passed its health check yet.
    #[error("service {0} is not running")]
    NotRunning(String),
    #[error("cannot send a signal to service {0}")]
    Signal(String, #[source] rustix::io::Errno),
    #[error("service {name} did not restart within {} s", RESTART_TIMEOUT.as_secs())]
    NotRestarted { name: String },
}

#[derive(Deserialize)]
struct SupervisorState {
    programs: Vec<ServiceEntry>,
}

#[derive(Deserialize)]
struct ServiceEntry {
    name: String,
    condition: String,
    process: Option<ProcessEntry>,
}

#[derive(Deserialize)]
struct ProcessEntry {
    pid: i32,
}

impl ProcessControl {
    /// Controls the services of the instance whose folder `MATSURI_LOCAL` names.
    #[expect(
        clippy::disallowed_methods,
        reason = "the configuration of tests and of `cargo xtask chaos`"
    )]
    pub fn from_env() -> Result<Self, ProcessControlError> {
        let folder = env::var("MATSURI_LOCAL").map_err(|_| ProcessControlError::MissingInstanceDir)?;
        Ok(Self(PathBuf::from(folder).join("run/state.json")))
    }

    /// Returns the process id of a healthy service.
    ///
    /// # Errors
    /// [`ProcessControlError::NotRunning`] while the service is stopped or restarting.
    pub fn pid(&self, name: &str) -> Result<Pid, ProcessControlError> {
        let unreadable = |error| ProcessControlError::UnreadableState(self.0.clone(), error);
        let bytes = fs::read(&self.0).map_err(|error| unreadable(error.into()))?;
        let state: SupervisorState =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.into()))?;
        let service = state.programs.into_iter().find(|service| service.name == name);
        service
            .filter(|service| service.condition == "running")
            .and_then(|service| Pid::from_raw(service.process?.pid))
            .ok_or_else(|| ProcessControlError::NotRunning(name.to_owned()))
    }

    /// Sends a signal to a service, and returns the process id that received it.
    pub fn send_signal(&self, name: &str, signal: Signal) -> Result<Pid, ProcessControlError> {
        let pid = self.pid(name)?;
        kill_process(pid, signal).map_err(|error| ProcessControlError::Signal(name.to_owned(), error))?;
        Ok(pid)
    }

    /// Kills a service with SIGKILL, and returns the process id that it had.
    pub fn kill(&self, name: &str) -> Result<Pid, ProcessControlError> {
        self.send_signal(name, Signal::KILL)
    }

    /// Waits until a service is healthy under another process id than `killed`.
    pub async fn wait_for_restart(&self, name: &str, killed: Pid) -> Result<(), ProcessControlError> {
        let deadline = Instant::now() + RESTART_TIMEOUT;
        while Instant::now() < deadline {
            if self.pid(name).is_ok_and(|pid| pid != killed) {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(ProcessControlError::NotRestarted {
            name: name.to_owned(),
        })
    }
}
