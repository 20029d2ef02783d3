//! One program under supervision: whether it lives, what its death is worth saying, and when it is started again.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use rustix::process::Signal;

use super::{Condition, ProcessId, Program, ProgramState, milliseconds, now, signal_group, stop};
use crate::logs;
use crate::paths::Instance;
use crate::progress::duration;

/// A program that lived shorter than this died quickly, and waits longer before its next start.
const QUICK: Duration = Duration::from_secs(20);

/// How long a program that died waits for its next start; the last one goes on for as long as it takes.
const BACKOFF: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// How many lines of a log are shown when its program has died.
const LAST_WORDS: usize = 15;

/// What happened to a program since the last look.
#[derive(Debug)]
pub enum Event {
    /// It died.
    Died {
        /// A sentence with everything that a person wants to know, and the end of the log.
        report: String,
    },
    /// It was started again, and serves.
    Back {
        /// Which one.
        name: &'static str,
        /// A sentence.
        report: String,
    },
}

/// One program, and what is known of its process.
#[derive(Debug)]
pub struct Supervised {
    /// The program.
    pub program: Program,
    /// How it is doing.
    pub condition: Condition,
    /// When the executable that runs was built.
    pub version: Option<SystemTime>,
    child: Option<Child>,
    process: Option<ProcessId>,
    started: Instant,
    started_at: u64,
    restarts: u32,
    quick_deaths: usize,
    next_start: Instant,
}

impl Supervised {
    /// A program that does not run yet.
    pub fn new(program: Program) -> Self {
        let now = Instant::now();
        Self {
            program,
            child: None,
            process: None,
            condition: Condition::Died,
            started: now,
            started_at: 0,
            version: None,
            restarts: 0,
            quick_deaths: 0,
            next_start: now,
        }
    }

    /// Starts its process.
    ///
    /// # Errors
    /// When the executable cannot be run.
    pub fn launch(&mut self, instance: &Instance) -> Result<()> {
        // Before the start: an executable that is replaced meanwhile counts as the new one next time.
        self.version = self.program.version();
        let child = self.program.spawn(&instance.log(self.program.name))?;
        self.process = ProcessId::of(child.id());
        self.child = Some(child);
        self.condition = Condition::Starting;
        self.started = Instant::now();
        self.started_at = now();
        Ok(())
    }

    /// How the process ended, once, if it did. What it left behind in its process group dies with it.
    ///
    /// # Errors
    /// When the operating system does not know the child.
    pub fn end(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let Some(status) = child.try_wait()? else {
            return Ok(None);
        };
        signal_group(child.id(), Signal::KILL);
        self.child = None;
        self.process = None;
        self.condition = Condition::Died;
        Ok(Some(describe(status)))
    }

    /// Stops the process in its own way, if there is one.
    pub fn stop(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        let (signal, within) = (self.program.stop_signal, self.program.stop_within);
        stop::gracefully(&process, signal, within, || {
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
    pub fn look(&mut self, instance: &Instance) -> Result<Option<Event>> {
        let name = self.program.name;
        if let Some(end) = self.end()? {
            let report = format!(
                "{name} {end}, {}\n{}",
                self.plan_restart(),
                self.last_words(instance)
            );
            return Ok(Some(Event::Died { report }));
        }
        match self.condition {
            Condition::Died if Instant::now() >= self.next_start => {
                self.restarts += 1;
                if let Err(error) = self.launch(instance) {
                    let report = format!(
                        "{name} cannot be started again ({error:#}), {}",
                        self.plan_restart()
                    );
                    return Ok(Some(Event::Died { report }));
                }
                Ok(None)
            }
            Condition::Starting if self.program.is_healthy() => {
                self.condition = Condition::Running;
                let report = format!(
                    "{name} is back on port {} (process {}, {})",
                    self.program.port,
                    self.process.as_ref().map_or(0, |process| process.pid),
                    if self.restarts == 1 {
                        "restarted once".to_owned()
                    } else {
                        format!("restarted {} times", self.restarts)
                    },
                );
                Ok(Some(Event::Back { name, report }))
            }
            _ => Ok(None),
        }
    }

    /// Decides when to start again, and says so.
    fn plan_restart(&mut self) -> String {
        let lived = self.started.elapsed();
        self.quick_deaths = if lived < QUICK { self.quick_deaths + 1 } else { 0 };
        let wait = BACKOFF[self.quick_deaths.min(BACKOFF.len() - 1)];
        self.next_start = Instant::now() + wait;
        let lived = format!("after {}", duration(lived));
        if self.quick_deaths < 3 {
            format!("{lived}; starting it again")
        } else {
            format!(
                "{lived}, {} times in a row; trying again in {} s",
                self.quick_deaths,
                wait.as_secs()
            )
        }
    }

    /// What other commands are told.
    pub fn state(&self) -> ProgramState {
        ProgramState {
            name: self.program.name.to_owned(),
            condition: self.condition,
            process: self.process.clone(),
            port: self.program.port,
            started_at: self.started_at,
            restarts: self.restarts,
            built_at: self.version.map(milliseconds),
            health: self.program.health.clone(),
        }
    }

    /// The end of the program's log.
    pub fn last_words(&self, instance: &Instance) -> String {
        let path = instance.log(self.program.name);
        let lines = logs::tail(&path, LAST_WORDS).unwrap_or_default();
        let mut text = format!("  the end of {}:", path.display());
        for line in lines.lines() {
            text.push_str("\n  | ");
            text.push_str(line);
        }
        text
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
