//! A circuit breaker: stops calls to a dependency that keeps failing, so that requests fail fast instead of
//! waiting for a timeout.
//!
//! States: closed; open for a fixed duration after a number of consecutive failures; then half-open, where
//! one probe call decides between closed and open. The existing crates are either unmaintained or insist on
//! owning the call and the clock, hence our own code.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ::metrics::{describe_gauge, gauge};

/// The gauge's name: 1 while the circuit breaker of a dependency is open, else 0.
const OPEN_GAUGE: &str = "circuit_breaker_open";

/// The circuit breaker of one dependency. Clones share its state.
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
    /// Calls are allowed. Holds the number of consecutive failures.
    Closed(u32),
    /// Calls are refused until this instant.
    Open(Instant),
    /// One probe call is in progress; all others are refused.
    HalfOpen,
}

/// The permission to call the dependency once. The caller reports the outcome; an attempt that is dropped
/// without a report counts neither as a success nor as a failure.
#[derive(Debug)]
#[must_use = "the circuit breaker needs the outcome of the call"]
pub struct Attempt {
    breaker: CircuitBreaker,
    started_at: Instant,
    is_half_open_probe: bool,
    reported: bool,
}

impl CircuitBreaker {
    /// A closed circuit breaker. It opens after `failure_threshold` consecutive failures, and allows one
    /// probe call after every `open_duration`.
    #[must_use]
    pub fn new(dependency: &'static str, failure_threshold: u32, open_duration: Duration) -> Self {
        describe_gauge!(
            OPEN_GAUGE,
            "1 while the circuit breaker of a dependency is open, else 0."
        );
        gauge!(OPEN_GAUGE, "dependency" => dependency).set(0.0);
        Self(Arc::new(Inner {
            dependency,
            failure_threshold,
            open_duration,
            state: Mutex::new(State::Closed(0)),
        }))
    }

    /// Allows one call, or returns `None` while the circuit breaker is open.
    pub fn try_acquire(&self, now: Instant) -> Option<Attempt> {
        let mut state = self.lock_state();
        let is_half_open_probe = match *state {
            State::Closed(_) => false,
            State::Open(until) if until <= now => true,
            State::Open(_) | State::HalfOpen => return None,
        };
        if is_half_open_probe {
            *state = State::HalfOpen;
        }
        Some(Attempt {
            breaker: self.clone(),
            started_at: now,
            is_half_open_probe,
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
    /// The dependency responded, even if with an error of its own.
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
                tracing::info!(dependency, "circuit breaker closed");
            }
            // This call started before the circuit breaker opened, so it says nothing about the dependency
            // now.
            State::Open(_) | State::HalfOpen => {}
        }
    }

    /// The dependency did not respond, or not before the timeout.
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
                tracing::warn!(dependency, "circuit breaker opened");
            }
            State::HalfOpen if self.is_half_open_probe => self.breaker.open(now, &mut state),
            State::Open(_) | State::HalfOpen => {}
        }
    }
}

impl Drop for Attempt {
    /// A probe that was cancelled without an outcome lets the next call probe immediately.
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
            breaker
                .try_acquire(at)
                .expect("the circuit breaker is closed")
                .record_failure(at);
        }
    }

    #[test]
    fn opens_only_after_consecutive_failures() {
        let (breaker, now) = breaker();
        record_failures(&breaker, now, 2);
        breaker.try_acquire(now).unwrap().record_success();
        record_failures(&breaker, now, 2);
        assert!(
            breaker.try_acquire(now).is_some(),
            "a success resets the failure count"
        );
        record_failures(&breaker, now, 1);
        assert!(breaker.try_acquire(now).is_none());
        assert!(
            breaker
                .try_acquire(now + OPEN_DURATION - Duration::from_millis(1))
                .is_none()
        );
    }

    #[test]
    fn one_half_open_probe_decides_the_next_state() {
        let (breaker, now) = breaker();
        record_failures(&breaker, now, 3);
        let probe = breaker
            .try_acquire(now + OPEN_DURATION)
            .expect("a probe is allowed");
        assert!(
            breaker.try_acquire(now + OPEN_DURATION).is_none(),
            "only one probe at a time"
        );
        probe.record_failure(now + OPEN_DURATION);
        assert!(breaker.try_acquire(now + OPEN_DURATION).is_none());

        let probe = breaker
            .try_acquire(now + OPEN_DURATION * 2)
            .expect("the next probe is allowed");
        probe.record_success();
        assert!(breaker.try_acquire(now + OPEN_DURATION * 2).is_some());
        record_failures(&breaker, now + OPEN_DURATION * 2, 2);
        assert!(
            breaker.try_acquire(now + OPEN_DURATION * 2).is_some(),
            "closing resets the failure count"
        );
    }

    #[test]
    fn cancelled_probe_allows_the_next_probe() {
        let (breaker, now) = breaker();
        record_failures(&breaker, now, 3);
        drop(
            breaker
                .try_acquire(now + OPEN_DURATION)
                .expect("a probe is allowed"),
        );
        assert!(breaker.try_acquire(now + OPEN_DURATION).is_some());
    }

    #[test]
    fn ignores_outcomes_of_calls_that_started_before_it_opened() {
        let (breaker, now) = breaker();
        let (slow, slower) = (
            breaker.try_acquire(now).unwrap(),
            breaker.try_acquire(now).unwrap(),
        );
        record_failures(&breaker, now, 3);
        slow.record_success();
        assert!(breaker.try_acquire(now).is_none());
        let probe = breaker.try_acquire(now + OPEN_DURATION).unwrap();
        slower.record_failure(now + OPEN_DURATION);
        probe.record_success();
        assert!(breaker.try_acquire(now + OPEN_DURATION).is_some());
    }
}
