//! A clock that a test moves.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use domain::Clock;

#[derive(Clone)]
pub struct TestClock {
    clock: Clock,
    advanced_by: Arc<Mutex<TimeDelta>>,
}

impl TestClock {
    /// Stands still until the test advances it.
    pub fn frozen() -> Self {
        let now = Clock::system().now();
        Self::based_on(Clock::from_fn(move || now))
    }

    /// Runs like the system's clock, and the test can advance it.
    pub fn running() -> Self {
        Self::based_on(Clock::system())
    }

    fn based_on(base: Clock) -> Self {
        let advanced_by = Arc::new(Mutex::new(TimeDelta::zero()));
        let offset = advanced_by.clone();
        Self {
            clock: Clock::from_fn(move || base.now() + *offset.lock().unwrap()),
            advanced_by,
        }
    }

    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub fn advance(&self, by: TimeDelta) {
        *self.advanced_by.lock().unwrap() += by;
    }
}
