//! Starts programs, sees that they stay up, and stops them in good order. Nothing here knows what they are.

mod processes;
mod program;
mod state;
pub mod stop;
mod supervised;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use self::processes::ProcessId;
pub use self::program::{Health, Program, signal_group};
pub use self::state::{Condition, Lock, Phase, ProgramState, State, milliseconds, now};
pub use self::supervised::Event;
use self::supervised::Supervised;
use crate::paths::Instance;
use crate::signals::Interrupt;

/// How long a program may take until it serves.
const START_WITHIN: Duration = Duration::from_secs(60);

/// How often programs are looked at.
pub const TICK: Duration = Duration::from_millis(50);

/// The programs of one instance.
#[derive(Debug)]
pub struct Supervisor {
    instance: Instance,
    programs: Vec<Supervised>,
    phase: Phase,
    published: Option<State>,
}

impl Supervisor {
    /// A supervisor without programs. The caller holds the instance's [`Lock`].
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn new(instance: &Instance) -> Result<Self> {
        fs::create_dir_all(instance.temporary())?;
        fs::create_dir_all(instance.logs())?;
        let mut supervisor = Self {
            instance: instance.clone(),
            programs: Vec::new(),
            phase: Phase::Starting,
            published: None,
        };
        supervisor.publish()?;
        Ok(supervisor)
    }

    /// Starts a program and waits until it serves. Its log begins anew; the one before is kept beside it.
    ///
    /// # Errors
    /// When it does not start, dies, or does not serve in time (the error holds the end of its log), or when the
    /// person has enough.
    pub fn start(&mut self, program: Program, interrupt: &Interrupt) -> Result<()> {
        let log = self.instance.log(program.name);
        let _ = fs::rename(&log, log.with_extension("previous.log"));
        let mut supervised = Supervised::new(program);
        supervised.launch(&self.instance)?;
        self.programs.push(supervised);
        self.publish()?;
        self.await_health(self.programs.len() - 1, interrupt)
    }

    fn await_health(&mut self, index: usize, interrupt: &Interrupt) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        let supervised = &mut self.programs[index];
        let name = supervised.program.name;
        loop {
            if let Some(end) = supervised.end()? {
                bail!("{name} {end}\n{}", supervised.last_words(&self.instance));
            }
            if supervised.program.is_healthy() {
                supervised.condition = Condition::Running;
                return self.publish();
            }
            if Instant::now() > deadline {
                bail!(
                    "{name} runs but does not serve after {} s\n{}",
                    START_WITHIN.as_secs(),
                    supervised.last_words(&self.instance)
                );
            }
            interrupt.check()?;
            thread::sleep(TICK);
        }
    }

    /// From now on everything is up, and what dies is started again.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn ready(&mut self) -> Result<()> {
        self.phase = Phase::Ready;
        self.publish()
    }

    /// Looks at every program once: notices deaths, starts again what has waited long enough, notices recovery.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn look(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for supervised in &mut self.programs {
            events.extend(supervised.look(&self.instance)?);
        }
        self.publish()?;
        Ok(events)
    }

    /// Starts again, in good order, each program whose executable was built anew. Returns their names.
    ///
    /// # Errors
    /// When one of them does not come up again.
    pub fn restart_rebuilt(&mut self, interrupt: &Interrupt) -> Result<Vec<&'static str>> {
        let mut restarted = Vec::new();
        for index in 0..self.programs.len() {
            let supervised = &mut self.programs[index];
            if supervised.version == supervised.program.version() {
                continue;
            }
            supervised.stop();
            restarted.push(supervised.program.name);
            supervised.launch(&self.instance)?;
            self.publish()?;
            self.await_health(index, interrupt)?;
        }
        Ok(restarted)
    }

    /// Stops everything, the last started first, each within its own time. `before` hears the name of each one first.
    pub fn stop(&mut self, mut before: impl FnMut(&str)) {
        self.phase = Phase::Stopping;
        let _ = self.publish();
        while let Some(mut supervised) = self.programs.pop() {
            before(supervised.program.name);
            supervised.stop();
            let _ = self.publish();
        }
        stop::clear_run(&self.instance);
    }

    /// Tells other commands how things are, when that has changed.
    fn publish(&mut self) -> Result<()> {
        let supervisor =
            ProcessId::of(std::process::id()).context("the operating system does not know us")?;
        let programs = self.programs.iter().map(Supervised::state).collect();
        let state = State {
            supervisor,
            phase: self.phase,
            programs,
        };
        if self.published.as_ref() != Some(&state) {
            state.write(&self.instance)?;
            self.published = Some(state);
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
