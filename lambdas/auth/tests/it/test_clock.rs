//! A clock that the test can advance.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::TimeDelta;
use domain::{Clock, Timestamp};

/// Stands still until the test advances it, so that slow machines measure the same times. It is ahead of the
/// system clock, by which the local AWS deletes expired items, and starts ten minutes after a full hour, so
/// that hourly counters do not change during a test by chance.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl Default for TestClock {
    fn default() -> Self {
        let ten_minutes_later = Clock::system().now() + TimeDelta::minutes(10);
        let past_hour = ten_minutes_later.timestamp().rem_euclid(3_600);
        let start = ten_minutes_later + TimeDelta::seconds((600 - past_hour).rem_euclid(3_600));
        Self(Arc::new(AtomicI64::new(start.timestamp_millis())))
    }
}

impl TestClock {
    pub fn clock(&self) -> Clock {
        let millis = self.0.clone();
        Clock::from_fn(move || {
            let now = Timestamp::from_timestamp_millis(millis.load(Ordering::SeqCst));
            now.expect("the time is in range")
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}
