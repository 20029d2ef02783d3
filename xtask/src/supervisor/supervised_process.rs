//! A supervised service: detects its exit, reports it, and restarts the service with a backoff.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use rustix::process::Signal;

use super::{
    Condition, ProcessId, ServiceSpec, ServiceState, shutdown, signal_process_group, unix_millis,
    unix_seconds_now,
};
use crate::instance::Instance;
use crate::logs;
use crate::progress::format_duration;

/// An exit within this time after the start counts as quick, and each successive quick exit lengthens the
/// backoff.
const QUICK_EXIT: Duration = Duration::from_secs(20);

/// The wait before a restart, by the number of successive quick exits; the last entry applies to all further
/// ones.
const RESTART_BACKOFF: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// How many lines of the log a report shows.
const LOG_TAIL_LINES: usize = 15;

/// A change that a poll detected.
#[derive(Debug)]
pub enum ServiceEvent {
    /// The process exited, or a restart failed.
    Died {
        /// For display: the reason, the next restart and the end of the log.
        report: String,
    },
    /// The service was restarted and is healthy.
    Recovered {
        name: &'static str,
        /// For display.
        report: String,
    },
}

/// A service and its current process.
#[derive(Debug)]
pub struct SupervisedProcess {
    pub spec: ServiceSpec,
    pub condition: Condition,
    /// The modification time of the executable when the process was started.
    pub executable_modified_at: Option<SystemTime>,
    child: Option<Child>,
    process: Option<ProcessId>,
    started: Instant,
    started_at: u64,
    restarts: u32,
    quick_exits: usize,
    restart_at: Instant,
}

impl SupervisedProcess {
    /// Creates the service without starting it.
    pub fn new(spec: ServiceSpec) -> Self {
        let now = Instant::now();
        Self {
            spec,
            child: None,
            process: None,
            condition: Condition::Died,
            started: now,
            started_at: 0,
            executable_modified_at: None,
            restarts: 0,
            quick_exits: 0,
            restart_at: now,
        }
    }

    /// Starts the process.
    ///
    /// # Errors
    /// When the executable cannot be run.
    pub fn launch(&mut self, instance: &Instance) -> Result<()> {
        // Read before the start, so that an executable replaced during the start counts as rebuilt.
        self.executable_modified_at = self.spec.executable_modified_at();
        let child = self.spec.spawn(&instance.log_file(self.spec.name))?;
        self.process = ProcessId::from_pid(child.id());
        self.child = Some(child);
        self.condition = Condition::Starting;
        self.started = Instant::now();
        self.started_at = unix_seconds_now();
        Ok(())
    }

    /// Returns a description of the exit if the process has exited since the last call, and kills the rest of
    /// its process group.
    ///
    /// # Errors
    /// When the operating system cannot report the status of the child.
    pub fn poll_exit(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let Some(status) = child.try_wait()? else {
            return Ok(None);
        };
        signal_process_group(child.id(), Signal::KILL);
        self.child = None;
        self.process = None;
        self.condition = Condition::Died;
        Ok(Some(describe_exit(status)))
    }

    /// Stops the process with the signal and the timeout of its spec.
    pub fn stop(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        let (signal, timeout) = (self.spec.stop_signal, self.spec.stop_timeout);
        shutdown::stop_gracefully(&process, signal, timeout, || {
            // Reaps the child; a zombie would not count as exited otherwise.
            if let Some(child) = &mut self.child {
                let _ = child.try_wait();
            }
        });
    }

    /// Detects an exit or a recovery, and restarts the service when its backoff has elapsed.
    ///
    /// # Errors
    /// When the operating system cannot report the status of the child.
    pub fn poll(&mut self, instance: &Instance) -> Result<Option<ServiceEvent>> {
        let name = self.spec.name;
        if let Some(exit) = self.poll_exit()? {
            let report = format!(
                "{name} {exit}, {}\n{}",
                self.schedule_restart(),
                self.log_tail(instance)
            );
            return Ok(Some(ServiceEvent::Died { report }));
        }
        match self.condition {
            Condition::Died if Instant::now() >= self.restart_at => {
                self.restarts += 1;
                if let Err(error) = self.launch(instance) {
                    let report = format!(
                        "{name} cannot be restarted ({error:#}), {}",
                        self.schedule_restart()
                    );
                    return Ok(Some(ServiceEvent::Died { report }));
                }
                Ok(None)
            }
            Condition::Starting if self.spec.is_healthy() => {
                self.condition = Condition::Running;
                let pid = self.process.as_ref().map(|process| process.pid.to_string());
                let report = format!(
                    "{name} is healthy again on port {} (process {}, {})",
                    self.spec.port,
                    pid.as_deref().unwrap_or("unknown"),
                    if self.restarts == 1 {
                        "restarted once".to_owned()
                    } else {
                        format!("restarted {} times", self.restarts)
                    },
                );
                Ok(Some(ServiceEvent::Recovered { name, report }))
            }
            _ => Ok(None),
        }
    }

    /// Schedules the next restart. Returns a description of it, for a report.
    fn schedule_restart(&mut self) -> String {
        let uptime = self.started.elapsed();
        self.quick_exits = if uptime < QUICK_EXIT {
            self.quick_exits + 1
        } else {
            0
        };
        let wait = RESTART_BACKOFF[self.quick_exits.min(RESTART_BACKOFF.len() - 1)];
        self.restart_at = Instant::now() + wait;
        let after = format!("after {}", format_duration(uptime));
        if self.quick_exits < 3 {
            format!("{after}; restarting it")
        } else {
            format!(
                "{after}, {} times in a row; restarting it in {} s",
                self.quick_exits,
                wait.as_secs()
            )
        }
    }

    /// The state for the state file.
    pub fn state(&self) -> ServiceState {
        ServiceState {
            name: self.spec.name.to_owned(),
            condition: self.condition,
            process: self.process.clone(),
            port: self.spec.port,
            started_at: self.started_at,
            restarts: self.restarts,
            built_at: self.executable_modified_at.map(unix_millis),
            health: self.spec.health_check.clone(),
        }
    }

    /// The end of the service's log, for a report.
    pub fn log_tail(&self, instance: &Instance) -> String {
        let path = instance.log_file(self.spec.name);
        let lines = logs::tail(&path, LOG_TAIL_LINES).unwrap_or_else(|error| format!("{error:#}"));
        let mut text = format!("  last lines of {}:", path.display());
        for line in lines.lines() {
            text.push_str("\n  | ");
            text.push_str(line);
        }
        text
    }
}

fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "exited".to_owned(),
    }
}
