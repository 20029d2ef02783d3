//! One program under supervision: whether it lives, what its death is worth saying, and when it is started again.

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

/// A program that lived shorter than this died quickly, and waits longer before its next start.
const QUICK_EXIT: Duration = Duration::from_secs(20);

/// How long a program that died waits for its next start; the last one goes on for as long as it takes.
const RESTART_BACKOFF: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// How many lines of a log are shown when its program has died.
const LOG_TAIL_LINES: usize = 15;

/// What happened to a program since the last look.
#[derive(Debug)]
pub enum ServiceEvent {
    /// It died.
    Died {
        /// A sentence with everything that a person wants to know, and the end of the log.
        report: String,
    },
    /// It was started again, and serves.
    Recovered {
        /// Which one.
        name: &'static str,
        /// A sentence.
        report: String,
    },
}

/// One program, and what is known of its process.
#[derive(Debug)]
pub struct SupervisedProcess {
    /// The program.
    pub spec: ServiceSpec,
    /// How it is doing.
    pub condition: Condition,
    /// When the executable that runs was built.
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
    /// A program that does not run yet.
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

    /// Starts its process.
    ///
    /// # Errors
    /// When the executable cannot be run.
    pub fn launch(&mut self, instance: &Instance) -> Result<()> {
        // Before the start: an executable that is replaced meanwhile counts as the new one next time.
        self.executable_modified_at = self.spec.executable_modified_at();
        let child = self.spec.spawn(&instance.log_file(self.spec.name))?;
        self.process = ProcessId::from_pid(child.id());
        self.child = Some(child);
        self.condition = Condition::Starting;
        self.started = Instant::now();
        self.started_at = unix_seconds_now();
        Ok(())
    }

    /// How the process ended, once, if it did. What it left behind in its process group dies with it.
    ///
    /// # Errors
    /// When the operating system does not know the child.
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

    /// Stops the process in its own way, if there is one.
    pub fn stop(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        let (signal, within) = (self.spec.stop_signal, self.spec.stop_timeout);
        shutdown::stop_gracefully(&process, signal, within, || {
            // So that it does not linger as a zombie.
            if let Some(child) = &mut self.child {
                let _ = child.try_wait();
            }
        });
    }

    /// Notices a death, starts again what has waited long enough, notices recovery.
    ///
    /// # Errors
    /// When the operating system does not know the child.
    pub fn poll(&mut self, instance: &Instance) -> Result<Option<ServiceEvent>> {
        let name = self.spec.name;
        if let Some(end) = self.poll_exit()? {
            let report = format!(
                "{name} {end}, {}\n{}",
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
                        "{name} cannot be started again ({error:#}), {}",
                        self.schedule_restart()
                    );
                    return Ok(Some(ServiceEvent::Died { report }));
                }
                Ok(None)
            }
            Condition::Starting if self.spec.is_healthy() => {
                self.condition = Condition::Running;
                let report = format!(
                    "{name} is back on port {} (process {}, {})",
                    self.spec.port,
                    self.process.as_ref().map_or(0, |process| process.pid),
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

    /// Decides when to start again, and says so.
    fn schedule_restart(&mut self) -> String {
        let lived = self.started.elapsed();
        self.quick_exits = if lived < QUICK_EXIT {
            self.quick_exits + 1
        } else {
            0
        };
        let wait = RESTART_BACKOFF[self.quick_exits.min(RESTART_BACKOFF.len() - 1)];
        self.restart_at = Instant::now() + wait;
        let lived = format!("after {}", format_duration(lived));
        if self.quick_exits < 3 {
            format!("{lived}; starting it again")
        } else {
            format!(
                "{lived}, {} times in a row; trying again in {} s",
                self.quick_exits,
                wait.as_secs()
            )
        }
    }

    /// What other commands are told.
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

    /// The end of the program's log.
    pub fn log_tail(&self, instance: &Instance) -> String {
        let path = instance.log_file(self.spec.name);
        let lines = logs::tail(&path, LOG_TAIL_LINES).unwrap_or_default();
        let mut text = format!("  the end of {}:", path.display());
        for line in lines.lines() {
            text.push_str("\n  | ");
            text.push_str(line);
        }
        text
    }
}

fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
