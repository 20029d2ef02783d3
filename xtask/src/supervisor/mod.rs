//! A generic process supervisor: starts services, restarts those that exit, and stops them in order.
//! Knowledge of particular services does not belong here.

mod process_id;
mod service_spec;
pub mod shutdown;
mod state;
mod supervised_process;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use self::process_id::ProcessId;
pub use self::service_spec::{HealthCheck, ServiceSpec, signal_process_group};
pub use self::state::{
    Condition, InstanceLock, Phase, ServiceState, SystemState, unix_millis, unix_seconds_now,
};
pub use self::supervised_process::ServiceEvent;
use self::supervised_process::SupervisedProcess;
use crate::instance::Instance;
use crate::signals::Interrupt;

/// How long a service may take until its health check succeeds.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The interval at which processes and files are polled.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The supervisor of one instance.
#[derive(Debug)]
pub struct Supervisor {
    instance: Instance,
    services: Vec<SupervisedProcess>,
    phase: Phase,
    last_written: Option<SystemState>,
}

impl Supervisor {
    /// Creates a supervisor without services. The caller must hold the [`InstanceLock`].
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn new(instance: &Instance) -> Result<Self> {
        fs::create_dir_all(instance.temp_dir())?;
        fs::create_dir_all(instance.logs_dir())?;
        let mut supervisor = Self {
            instance: instance.clone(),
            services: Vec::new(),
            phase: Phase::Starting,
            last_written: None,
        };
        supervisor.write_state()?;
        Ok(supervisor)
    }

    /// Starts a service and waits until its health check succeeds. The log of its previous run is renamed to
    /// `NAME.previous.log`.
    ///
    /// # Errors
    /// When the service does not start, exits, or is not healthy within [`START_TIMEOUT`] (the error holds
    /// the end of its log), or when the user interrupts the command.
    pub fn start(&mut self, spec: ServiceSpec, interrupt: &Interrupt) -> Result<()> {
        let log = self.instance.log_file(spec.name);
        let _ = fs::rename(&log, log.with_extension("previous.log"));
        let mut service = SupervisedProcess::new(spec);
        service.launch(&self.instance)?;
        self.services.push(service);
        self.write_state()?;
        self.wait_until_healthy(self.services.len() - 1, interrupt)
    }

    fn wait_until_healthy(&mut self, index: usize, interrupt: &Interrupt) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let service = &mut self.services[index];
        let name = service.spec.name;
        loop {
            if let Some(exit) = service.poll_exit()? {
                bail!("{name} {exit}\n{}", service.log_tail(&self.instance));
            }
            if service.spec.is_healthy() {
                service.condition = Condition::Running;
                return self.write_state();
            }
            if Instant::now() > deadline {
                bail!(
                    "{name} is running but not healthy after {} s\n{}",
                    START_TIMEOUT.as_secs(),
                    service.log_tail(&self.instance)
                );
            }
            interrupt.check()?;
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Records that every service has started; [`Self::poll`] then restarts services that exit.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn mark_ready(&mut self) -> Result<()> {
        self.phase = Phase::Ready;
        self.write_state()
    }

    /// Checks every service once: detects exits and recoveries, and restarts services whose backoff has
    /// elapsed.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn poll(&mut self) -> Result<Vec<ServiceEvent>> {
        let mut events = Vec::new();
        for service in &mut self.services {
            events.extend(service.poll(&self.instance)?);
        }
        self.write_state()?;
        Ok(events)
    }

    /// Gracefully restarts each service whose executable was rebuilt. Returns the names of the restarted
    /// services.
    ///
    /// # Errors
    /// When a restarted service does not become healthy.
    pub fn restart_rebuilt(&mut self, interrupt: &Interrupt) -> Result<Vec<&'static str>> {
        let mut restarted = Vec::new();
        for index in 0..self.services.len() {
            let service = &mut self.services[index];
            if service.executable_modified_at == service.spec.executable_modified_at() {
                continue;
            }
            service.stop();
            restarted.push(service.spec.name);
            service.launch(&self.instance)?;
            self.write_state()?;
            self.wait_until_healthy(index, interrupt)?;
        }
        Ok(restarted)
    }

    /// Stops all services in the reverse order of their start, each with its own timeout. Calls `before` with
    /// the name of a service before it stops that service.
    pub fn stop(&mut self, mut before: impl FnMut(&str)) {
        self.phase = Phase::Stopping;
        let _ = self.write_state();
        while let Some(mut service) = self.services.pop() {
            before(service.spec.name);
            service.stop();
            let _ = self.write_state();
        }
        shutdown::remove_run_files(&self.instance);
    }

    /// Writes the state file for other commands, if the state has changed.
    fn write_state(&mut self) -> Result<()> {
        let supervisor =
            ProcessId::from_pid(std::process::id()).context("cannot read the start time of this process")?;
        let services = self.services.iter().map(SupervisedProcess::state).collect();
        let state = SystemState {
            supervisor,
            phase: self.phase,
            services,
        };
        if self.last_written.as_ref() != Some(&state) {
            state.write(&self.instance)?;
            self.last_written = Some(state);
        }
        Ok(())
    }
}

impl Drop for Supervisor {
    /// Stops the services on every exit path, including a panic.
    fn drop(&mut self) {
        self.stop(|_| {});
    }
}
