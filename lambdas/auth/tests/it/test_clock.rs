//! A clock that a test moves.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::TimeDelta;
use domain::{Clock, Timestamp};

/// It runs with the machine's, ahead of it by as much as the test says: the local AWS takes out what is past its
/// end by the machine's. It begins ten minutes past an hour, so that no hour ends by chance.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl Default for TestClock {
    fn default() -> Self {
        let past = Clock::system().now().timestamp().rem_euclid(3_600);
        let ahead = (600 - past).rem_euclid(3_600);
        Self(Arc::new(AtomicI64::new(ahead * 1_000)))
    }
}

impl TestClock {
    pub fn clock(&self) -> Clock {
        let ahead = self.0.clone();
        let system = Clock::system();
        Clock::from_fn(move || system.now() + TimeDelta::milliseconds(ahead.load(Ordering::SeqCst)))
    }

    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}
