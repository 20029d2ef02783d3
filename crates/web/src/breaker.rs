//! A circuit breaker: what has just failed again and again is not asked for a moment, so that nobody waits for it.
//!
//! The crates that there are for this are either not kept up any more or want to own the call and the clock. This is
//! the whole of it: closed; open for a while after so many failures in a row; then one attempt on trial, which decides.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ::metrics::{describe_gauge, gauge};

/// 1 while a dependency is not asked, else 0.
const OPEN: &str = "circuit_breaker_open";

/// Stands before one dependency. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Breaker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dependency: &'static str,
    failures: u32,
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Asked; so many failed since the last that did not.
    Closed(u32),
    /// Not asked until then.
    Open(Instant),
    /// One is asking.
    Trial,
}

/// Leave to ask the dependency once. Dropped without a word about its outcome, it counts for nothing.
#[derive(Debug)]
#[must_use = "the breaker learns from what became of it"]
pub struct Attempt {
    breaker: Breaker,
    began: Instant,
    on_trial: bool,
    told: bool,
}

impl Breaker {
    /// Opens after so many `failures` in a row, and lets one attempt through after every `rest`.
    #[must_use]
    pub fn new(dependency: &'static str, failures: u32, rest: Duration) -> Self {
        describe_gauge!(
            OPEN,
            "Whether a dependency is not asked at the moment, because it failed."
        );
        gauge!(OPEN, "dependency" => dependency).set(0.0);
        Self(Arc::new(Inner {
            dependency,
            failures,
            rest,
            state: Mutex::new(State::Closed(0)),
        }))
    }

    /// Leave to ask; none while the breaker is open.
    pub fn admit(&self, now: Instant) -> Option<Attempt> {
        let mut state = self.state();
        let on_trial = match *state {
            State::Closed(_) => false,
            State::Open(until) if until <= now => true,
            State::Open(_) | State::Trial => return None,
        };
        if on_trial {
            *state = State::Trial;
        }
        Some(Attempt {
            breaker: self.clone(),
            began: now,
            on_trial,
            told: false,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, now: Instant, state: &mut State) {
        *state = State::Open(now + self.0.rest);
    }
}

impl Attempt {
    /// The dependency has answered, whatever it said.
    pub fn succeeded(mut self) {
        self.told = true;
        let mut state = self.breaker.state();
        match *state {
            State::Closed(_) => *state = State::Closed(0),
            State::Trial if self.on_trial => {
                *state = State::Closed(0);
                drop(state);
                let dependency = self.breaker.0.dependency;
                gauge!(OPEN, "dependency" => dependency).set(0.0);
                tracing::info!(dependency, "a dependency is back");
            }
            // It was asked before the others failed, and proves nothing of now.
            State::Open(_) | State::Trial => {}
        }
    }

    /// The dependency has not answered, or not in time.
    pub fn failed(mut self, now: Instant) {
        self.told = true;
        let mut state = self.breaker.state();
        match *state {
            State::Closed(failures) if failures + 1 < self.breaker.0.failures => {
                *state = State::Closed(failures + 1);
            }
            State::Closed(_) => {
                self.breaker.open(now, &mut state);
                drop(state);
                let dependency = self.breaker.0.dependency;
                gauge!(OPEN, "dependency" => dependency).set(1.0);
                tracing::warn!(dependency, "a dependency fails and is not asked for a while");
            }
            State::Trial if self.on_trial => self.breaker.open(now, &mut state),
            State::Open(_) | State::Trial => {}
        }
    }
}

impl Drop for Attempt {
    /// Who asked has gone before there was an answer: the next may try at once.
    fn drop(&mut self) {
        if self.on_trial && !self.told {
            *self.breaker.state() = State::Open(self.began);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(5);

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new("test", 3, REST), Instant::now())
    }

    fn fail(breaker: &Breaker, at: Instant, times: u32) {
        for _ in 0..times {
            breaker.admit(at).expect("it is closed").failed(at);
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let (breaker, now) = breaker();
        fail(&breaker, now, 2);
        breaker.admit(now).unwrap().succeeded();
        fail(&breaker, now, 2);
        assert!(breaker.admit(now).is_some(), "a success began the row anew");
        fail(&breaker, now, 1);
        assert!(breaker.admit(now).is_none());
        assert!(breaker.admit(now + REST - Duration::from_millis(1)).is_none());
    }

    #[test]
    fn one_attempt_on_trial_decides() {
        let (breaker, now) = breaker();
        fail(&breaker, now, 3);
        let trial = breaker.admit(now + REST).expect("one may try");
        assert!(breaker.admit(now + REST).is_none(), "and one only");
        trial.failed(now + REST);
        assert!(breaker.admit(now + REST).is_none());

        let trial = breaker.admit(now + REST * 2).expect("the next one may try");
        trial.succeeded();
        assert!(breaker.admit(now + REST * 2).is_some());
        fail(&breaker, now + REST * 2, 2);
        assert!(
            breaker.admit(now + REST * 2).is_some(),
            "it counts from the beginning"
        );
    }

    #[test]
    fn a_trial_that_is_given_up_leaves_the_next_one_a_try() {
        let (breaker, now) = breaker();
        fail(&breaker, now, 3);
        drop(breaker.admit(now + REST).expect("one may try"));
        assert!(breaker.admit(now + REST).is_some());
    }

    #[test]
    fn what_began_before_it_opened_changes_nothing() {
        let (breaker, now) = breaker();
        let (slow, slower) = (breaker.admit(now).unwrap(), breaker.admit(now).unwrap());
        fail(&breaker, now, 3);
        slow.succeeded();
        assert!(breaker.admit(now).is_none());
        let trial = breaker.admit(now + REST).unwrap();
        slower.failed(now + REST);
        trial.succeeded();
        assert!(breaker.admit(now + REST).is_some());
    }
}
