//! The state file through which the supervisor informs other commands, and the lock of an instance.

use std::fs::{self, File, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{HealthCheck, ProcessId};
use crate::instance::Instance;

/// The phase of the system's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not all services have started yet.
    Starting,
    /// All services have started and are supervised.
    Ready,
    /// The services are being stopped.
    Stopping,
}

/// The condition of a service, as of the supervisor's last poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// The process runs, but its health check has not succeeded yet.
    Starting,
    /// The process runs, and its health check has succeeded.
    Running,
    /// The process has exited; the supervisor will restart it.
    Died,
}

/// The state of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    pub name: String,
    pub condition: Condition,
    /// `None` between an exit and the restart.
    pub process: Option<ProcessId>,
    pub port: u16,
    /// The start of the process, in seconds since 1970.
    pub started_at: u64,
    /// How often the supervisor has restarted the service after an exit.
    pub restarts: u32,
    /// The modification time of the executable, in milliseconds since 1970.
    pub built_at: Option<u64>,
    pub health: HealthCheck,
}

impl ServiceState {
    /// Whether the service is healthy now. Takes at most three seconds.
    pub fn is_healthy(&self) -> bool {
        self.health.check(self.port)
    }
}

/// The content of the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemState {
    pub supervisor: ProcessId,
    pub phase: Phase,
    /// In the order of their start. The end-to-end tests read this file as well, under this name.
    #[serde(rename = "programs")]
    pub services: Vec<ServiceState>,
}

impl SystemState {
    /// Reads the state file; `None` when the instance is not running.
    pub fn read(instance: &Instance) -> Option<Self> {
        let bytes = fs::read(instance.run_dir().join("state.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces the state file atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, instance: &Instance) -> Result<()> {
        let path = instance.run_dir().join("state.json");
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The services whose process runs, whether or not their supervisor still runs.
    pub fn running_services(&self) -> impl DoubleEndedIterator<Item = &ServiceState> {
        self.services
            .iter()
            .filter(|service| service.process.as_ref().is_some_and(ProcessId::is_running))
    }
}

/// The lock of an instance. Its supervisor holds it; the operating system releases it when the process ends
/// in any way. The lock file contains the [`ProcessId`] of the holder.
#[derive(Debug)]
pub struct InstanceLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl InstanceLock {
    /// Acquires the lock; `None` when another process holds it.
    ///
    /// # Errors
    /// When the lock file cannot be created.
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

    /// The process that holds the lock, if one does.
    pub fn holder(instance: &Instance) -> Option<ProcessId> {
        let bytes = fs::read(instance.run_dir().join("lock")).ok()?;
        let holder: ProcessId = serde_json::from_slice(&bytes).ok()?;
        holder.is_running().then_some(holder)
    }
}

/// The current time in seconds since 1970.
pub fn unix_seconds_now() -> u64 {
    unix_seconds(SystemTime::now())
}

/// Seconds since 1970; 0 for earlier times.
fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// Milliseconds since 1970; 0 for earlier times.
pub fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}
