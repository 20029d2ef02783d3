//! Starts programs, sees that they stay up, and stops them in good order. Nothing here knows what they are.

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

/// How long a program may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How often programs are looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The programs of one instance.
#[derive(Debug)]
pub struct Supervisor {
    instance: Instance,
    services: Vec<SupervisedProcess>,
    phase: Phase,
    last_written: Option<SystemState>,
}

impl Supervisor {
    /// A supervisor without programs. The caller holds the instance's [`Lock`].
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

    /// Starts a program and waits until it serves. Its log begins anew; the one before is kept beside it.
    ///
    /// # Errors
    /// When it does not start, dies, or does not serve in time (the error holds the end of its log), or when the
    /// person has enough.
    pub fn start(&mut self, program: ServiceSpec, interrupt: &Interrupt) -> Result<()> {
        let log = self.instance.log_file(program.name);
        let _ = fs::rename(&log, log.with_extension("previous.log"));
        let mut supervised = SupervisedProcess::new(program);
        supervised.launch(&self.instance)?;
        self.services.push(supervised);
        self.write_state()?;
        self.wait_until_healthy(self.services.len() - 1, interrupt)
    }

    fn wait_until_healthy(&mut self, index: usize, interrupt: &Interrupt) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let supervised = &mut self.services[index];
        let name = supervised.spec.name;
        loop {
            if let Some(end) = supervised.poll_exit()? {
                bail!("{name} {end}\n{}", supervised.log_tail(&self.instance));
            }
            if supervised.spec.is_healthy() {
                supervised.condition = Condition::Running;
                return self.write_state();
            }
            if Instant::now() > deadline {
                bail!(
                    "{name} runs but does not serve after {} s\n{}",
                    START_TIMEOUT.as_secs(),
                    supervised.log_tail(&self.instance)
                );
            }
            interrupt.check()?;
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// From now on everything is up, and what dies is started again.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn mark_ready(&mut self) -> Result<()> {
        self.phase = Phase::Ready;
        self.write_state()
    }

    /// Looks at every program once: notices deaths, starts again what has waited long enough, notices recovery.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn poll(&mut self) -> Result<Vec<ServiceEvent>> {
        let mut events = Vec::new();
        for supervised in &mut self.services {
            events.extend(supervised.poll(&self.instance)?);
        }
        self.write_state()?;
        Ok(events)
    }

    /// Starts again, in good order, each program whose executable was built anew. Returns their names.
    ///
    /// # Errors
    /// When one of them does not come up again.
    pub fn restart_rebuilt(&mut self, interrupt: &Interrupt) -> Result<Vec<&'static str>> {
        let mut restarted = Vec::new();
        for index in 0..self.services.len() {
            let supervised = &mut self.services[index];
            if supervised.executable_modified_at == supervised.spec.executable_modified_at() {
                continue;
            }
            supervised.stop();
            restarted.push(supervised.spec.name);
            supervised.launch(&self.instance)?;
            self.write_state()?;
            self.wait_until_healthy(index, interrupt)?;
        }
        Ok(restarted)
    }

    /// Stops everything, the last started first, each within its own time. `before` hears the name of each one first.
    pub fn stop(&mut self, mut before: impl FnMut(&str)) {
        self.phase = Phase::Stopping;
        let _ = self.write_state();
        while let Some(mut supervised) = self.services.pop() {
            before(supervised.spec.name);
            supervised.stop();
            let _ = self.write_state();
        }
        shutdown::remove_run_files(&self.instance);
    }

    /// Tells other commands how things are, when that has changed.
    fn write_state(&mut self) -> Result<()> {
        let supervisor =
            ProcessId::from_pid(std::process::id()).context("the operating system does not know us")?;
        let programs = self.services.iter().map(SupervisedProcess::state).collect();
        let state = SystemState {
            supervisor,
            phase: self.phase,
            programs,
        };
        if self.last_written.as_ref() != Some(&state) {
            state.write(&self.instance)?;
            self.last_written = Some(state);
        }
        Ok(())
    }
}

impl Drop for Supervisor {
    /// Nothing outlives its supervisor, also when that one ends by a mistake of its own.
    fn drop(&mut self) {
        self.stop(|_| {});
    }
}
