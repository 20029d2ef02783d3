//! A clock that the test can advance.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::TimeDelta;
use domain::{Clock, Timestamp};

/// Runs ahead of the system clock by the time that the test has advanced it. It never runs behind, because
/// the local AWS deletes expired items by the system clock. It starts ten minutes after a full hour, so that
/// hourly counters do not change during a test by chance.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl Default for TestClock {
    fn default() -> Self {
        let past_hour = Clock::system().now().timestamp().rem_euclid(3_600);
        let seconds_ahead = (600 - past_hour).rem_euclid(3_600);
        Self(Arc::new(AtomicI64::new(seconds_ahead * 1_000)))
    }
}

impl TestClock {
    pub fn clock(&self) -> Clock {
        let millis_ahead = self.0.clone();
        let system = Clock::system();
        Clock::from_fn(move || system.now() + TimeDelta::milliseconds(millis_ahead.load(Ordering::SeqCst)))
    }

    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}
