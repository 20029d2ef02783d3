//! The programs of a local system as its supervisor knows them: killing one, and seeing it come back.
//!
//! `cargo xtask` starts again what dies, and tells in a file of the instance's folder who runs.

use std::{env, fs, path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

/// How long a program may take to come back: the supervisor lets one that died again and again wait for half a minute.
const RESTART_TIMEOUT: Duration = Duration::from_secs(120);

/// How often the supervisor's file is read while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The supervised programs of the system that the environment names.
#[derive(Clone, Debug)]
pub struct ProcessControl(PathBuf);

/// A program could not be killed, or did not come back.
#[derive(Debug, thiserror::Error)]
pub enum ProcessControlError {
    /// The tests' configuration lacks the instance's folder.
    #[error("MATSURI_LOCAL is not set: `cargo xtask test` and `cargo xtask chaos` set it")]
    MissingInstanceDir,
    /// The supervisor's file is not there, or not as it should be.
    #[error("{0} cannot be read")]
    UnreadableState(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no such program, or it does not run.
    #[error("{0} does not run")]
    NotRunning(String),
    /// The operating system does not let us.
    #[error("{0} cannot be sent a signal")]
    Signal(String, #[source] rustix::io::Errno),
    /// It is gone for longer than a restart takes.
    #[error("{0} did not come back")]
    NotRestarted(String),
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
    /// The programs of the instance whose folder `MATSURI_LOCAL` names.
    #[expect(
        clippy::disallowed_methods,
        reason = "the configuration of tests and of `cargo xtask chaos`"
    )]
    pub fn from_env() -> Result<Self, ProcessControlError> {
        let folder = env::var("MATSURI_LOCAL").map_err(|_| ProcessControlError::MissingInstanceDir)?;
        Ok(Self(PathBuf::from(folder).join("run/state.json")))
    }

    /// The process that a program runs as and serves from; fails with [`SupervisedError::NotRunning`] between death
    /// and return.
    pub fn pid(&self, name: &str) -> Result<Pid, ProcessControlError> {
        let unreadable = |error| ProcessControlError::UnreadableState(self.0.clone(), error);
        let bytes = fs::read(&self.0).map_err(|error| unreadable(error.into()))?;
        let state: SupervisorState =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.into()))?;
        let program = state.programs.into_iter().find(|program| program.name == name);
        program
            .filter(|program| program.condition == "running")
            .and_then(|program| Pid::from_raw(program.process?.pid))
            .ok_or_else(|| ProcessControlError::NotRunning(name.to_owned()))
    }

    /// Sends a program a signal.
    pub fn send_signal(&self, name: &str, signal: Signal) -> Result<Pid, ProcessControlError> {
        let pid = self.pid(name)?;
        kill_process(pid, signal).map_err(|error| ProcessControlError::Signal(name.to_owned(), error))?;
        Ok(pid)
    }

    /// Kills a program as nothing can prepare for (`kill -9`). Returns the process that it was.
    pub fn kill(&self, name: &str) -> Result<Pid, ProcessControlError> {
        self.send_signal(name, Signal::KILL)
    }

    /// Waits until a program that was `killed` runs as another process and serves.
    pub async fn wait_for_restart(&self, name: &str, killed: Pid) -> Result<(), ProcessControlError> {
        let deadline = Instant::now() + RESTART_TIMEOUT;
        while Instant::now() < deadline {
            if self.pid(name).is_ok_and(|pid| pid != killed) {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(ProcessControlError::NotRestarted(name.to_owned()))
    }
}
