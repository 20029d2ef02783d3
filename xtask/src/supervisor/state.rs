//! What the supervisor tells other commands: who runs, where, since when. One file, replaced as a whole.

use std::fs::{self, File, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{HealthCheck, ProcessId};
use crate::instance::Instance;

/// How far the system has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Some programs may run; not all of them do.
    Starting,
    /// Everything was ready once, and is supervised since.
    Ready,
    /// On its way down.
    Stopping,
}

/// How a program is doing, as the supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// The process runs and does not answer yet.
    Starting,
    /// The process runs and has answered.
    Running,
    /// The process died and will be started again.
    Died,
}

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// The program's name.
    pub name: String,
    /// How it is doing.
    pub condition: Condition,
    /// Its process; none between death and restart.
    pub process: Option<ProcessId>,
    /// Where it listens.
    pub port: u16,
    /// When the process was started, in seconds since 1970.
    pub started_at: u64,
    /// How often it was started again because it had died.
    pub restarts: u32,
    /// When its executable was built, in milliseconds since 1970.
    pub built_at: Option<u64>,
    /// What tells that it serves.
    pub health: HealthCheck,
}

impl ServiceState {
    /// Whether it serves at this moment. Takes three seconds at most.
    pub fn is_healthy(&self) -> bool {
        self.health.check(self.port)
    }
}

/// The whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemState {
    /// The process that supervises the others.
    pub supervisor: ProcessId,
    /// How far the system has come.
    pub phase: Phase,
    /// In the order of their start.
    pub programs: Vec<ServiceState>,
}

impl SystemState {
    /// Reads what the last supervisor wrote; `None` when there was none.
    pub fn read(instance: &Instance) -> Option<Self> {
        let bytes = fs::read(instance.run_dir().join("state.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces the file, so that a reader sees the old or the new state and never half of one.
    ///
    /// # Errors
    /// When the folder is not writable.
    pub fn write(&self, instance: &Instance) -> Result<()> {
        let path = instance.run_dir().join("state.json");
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The programs that still run, whoever supervises them.
    pub fn running_services(&self) -> impl DoubleEndedIterator<Item = &ServiceState> {
        self.programs
            .iter()
            .filter(|program| program.process.as_ref().is_some_and(ProcessId::is_running))
    }
}

/// Held by the one supervisor of an instance for as long as it lives, however it ends. The file names the holder.
#[derive(Debug)]
pub struct InstanceLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl InstanceLock {
    /// Takes the lock; `None` when another process of this machine holds it.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn try_acquire(instance: &Instance) -> Result<Option<Self>> {
        let path = instance.run_dir().join("lock");
        let context = || format!("cannot lock {}", path.display());
        fs::create_dir_all(instance.run_dir()).with_context(context)?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        file.set_len(0)?;
        serde_json::to_writer(&mut file, &ProcessId::from_pid(std::process::id())).with_context(context)?;
        Ok(Some(Self(file)))
    }

    /// The process that holds the lock; `None` when nobody does.
    pub fn holder(instance: &Instance) -> Option<ProcessId> {
        let bytes = fs::read(instance.run_dir().join("lock")).ok()?;
        let holder: ProcessId = serde_json::from_slice(&bytes).ok()?;
        holder.is_running().then_some(holder)
    }
}

/// Seconds since 1970.
pub fn unix_seconds_now() -> u64 {
    unix_seconds(SystemTime::now())
}

/// A point in time in seconds since 1970.
fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// A point in time in milliseconds since 1970.
pub fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}
