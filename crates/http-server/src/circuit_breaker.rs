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
const OPEN_GAUGE: &str = "circuit_breaker_open";

/// Stands before one dependency. Cloning shares it.
#[derive(Clone, Debug)]
pub struct CircuitBreaker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dependency: &'static str,
    failure_threshold: u32,
    open_duration: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Asked; so many failed since the last that did not.
    Closed(u32),
    /// Not asked until then.
    Open(Instant),
    /// One is asking.
    HalfOpen,
}

/// Leave to ask the dependency once. Dropped without a word about its outcome, it counts for nothing.
#[derive(Debug)]
#[must_use = "the breaker learns from what became of it"]
pub struct Attempt {
    breaker: CircuitBreaker,
    started_at: Instant,
    is_half_open_probe: bool,
    reported: bool,
}

impl CircuitBreaker {
    /// Opens after so many `failures` in a row, and lets one attempt through after every `rest`.
    #[must_use]
    pub fn new(dependency: &'static str, failures: u32, rest: Duration) -> Self {
        describe_gauge!(
            OPEN_GAUGE,
            "Whether a dependency is not asked at the moment, because it failed."
        );
        gauge!(OPEN_GAUGE, "dependency" => dependency).set(0.0);
        Self(Arc::new(Inner {
            dependency,
            failure_threshold: failures,
            open_duration: rest,
            state: Mutex::new(State::Closed(0)),
        }))
    }

    /// Leave to ask; none while the breaker is open.
    pub fn try_acquire(&self, now: Instant) -> Option<Attempt> {
        let mut state = self.lock_state();
        let on_trial = match *state {
            State::Closed(_) => false,
            State::Open(until) if until <= now => true,
            State::Open(_) | State::HalfOpen => return None,
        };
        if on_trial {
            *state = State::HalfOpen;
        }
        Some(Attempt {
            breaker: self.clone(),
            started_at: now,
            is_half_open_probe: on_trial,
            reported: false,
        })
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, now: Instant, state: &mut State) {
        *state = State::Open(now + self.0.open_duration);
    }
}

impl Attempt {
    /// The dependency has answered, whatever it said.
    pub fn record_success(mut self) {
        self.reported = true;
        let mut state = self.breaker.lock_state();
        match *state {
            State::Closed(_) => *state = State::Closed(0),
            State::HalfOpen if self.is_half_open_probe => {
                *state = State::Closed(0);
                drop(state);
                let dependency = self.breaker.0.dependency;
                gauge!(OPEN_GAUGE, "dependency" => dependency).set(0.0);
                tracing::info!(dependency, "a dependency is back");
            }
            // It was asked before the others failed, and proves nothing of now.
            State::Open(_) | State::HalfOpen => {}
        }
    }

    /// The dependency has not answered, or not in time.
    pub fn record_failure(mut self, now: Instant) {
        self.reported = true;
        let mut state = self.breaker.lock_state();
        match *state {
            State::Closed(failures) if failures + 1 < self.breaker.0.failure_threshold => {
                *state = State::Closed(failures + 1);
            }
            State::Closed(_) => {
                self.breaker.open(now, &mut state);
                drop(state);
                let dependency = self.breaker.0.dependency;
                gauge!(OPEN_GAUGE, "dependency" => dependency).set(1.0);
                tracing::warn!(dependency, "a dependency fails and is not asked for a while");
            }
            State::HalfOpen if self.is_half_open_probe => self.breaker.open(now, &mut state),
            State::Open(_) | State::HalfOpen => {}
        }
    }
}

impl Drop for Attempt {
    /// Who asked has gone before there was an answer: the next may try at once.
    fn drop(&mut self) {
        if self.is_half_open_probe && !self.reported {
            *self.breaker.lock_state() = State::Open(self.started_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_DURATION: Duration = Duration::from_secs(5);

    fn breaker() -> (CircuitBreaker, Instant) {
        (CircuitBreaker::new("test", 3, OPEN_DURATION), Instant::now())
    }

    fn record_failures(breaker: &CircuitBreaker, at: Instant, times: u32) {
        for _ in 0..times {
            breaker.try_acquire(at).expect("it is closed").record_failure(at);
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let (breaker, now) = breaker();
        record_failures(&breaker, now, 2);
        breaker.try_acquire(now).unwrap().record_success();
        record_failures(&breaker, now, 2);
        assert!(breaker.try_acquire(now).is_some(), "a success began the row anew");
        record_failures(&breaker, now, 1);
        assert!(breaker.try_acquire(now).is_none());
        assert!(
            breaker
                .try_acquire(now + OPEN_DURATION - Duration::from_millis(1))
                .is_none()
        );
    }

    #[test]
    fn one_attempt_on_trial_decides() {
        let (breaker, now) = breaker();
        record_failures(&breaker, now, 3);
        let trial = breaker.try_acquire(now + OPEN_DURATION).expect("one may try");
        assert!(breaker.try_acquire(now + OPEN_DURATION).is_none(), "and one only");
        trial.record_failure(now + OPEN_DURATION);
        assert!(breaker.try_acquire(now + OPEN_DURATION).is_none());

        let trial = breaker
            .try_acquire(now + OPEN_DURATION * 2)
            .expect("the next one may try");
        trial.record_success();
        assert!(breaker.try_acquire(now + OPEN_DURATION * 2).is_some());
        record_failures(&breaker, now + OPEN_DURATION * 2, 2);
        assert!(
            breaker.try_acquire(now + OPEN_DURATION * 2).is_some(),
            "it counts from the beginning"
        );
    }

    #[test]
    fn a_trial_that_is_given_up_leaves_the_next_one_a_try() {
        let (breaker, now) = breaker();
        record_failures(&breaker, now, 3);
        drop(breaker.try_acquire(now + OPEN_DURATION).expect("one may try"));
        assert!(breaker.try_acquire(now + OPEN_DURATION).is_some());
    }

    #[test]
    fn what_began_before_it_opened_changes_nothing() {
        let (breaker, now) = breaker();
        let (slow, slower) = (
            breaker.try_acquire(now).unwrap(),
            breaker.try_acquire(now).unwrap(),
        );
        record_failures(&breaker, now, 3);
        slow.record_success();
        assert!(breaker.try_acquire(now).is_none());
        let trial = breaker.try_acquire(now + OPEN_DURATION).unwrap();
        slower.record_failure(now + OPEN_DURATION);
        trial.record_success();
        assert!(breaker.try_acquire(now + OPEN_DURATION).is_some());
    }
}
