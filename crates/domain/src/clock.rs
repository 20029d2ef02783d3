//! The clock as an argument, so that tests control the time.

use std::sync::Arc;

use chrono::{DateTime, Utc};

/// A point in time in UTC. It is serialised as RFC 3339.
pub type Timestamp = DateTime<Utc>;

/// A source of the current time. Cloning is cheap. Tests pass their own with [`Clock::from_fn`].
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system clock.
    #[must_use]
    pub fn system() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the only place that reads the system clock"
        )]
        Self(Arc::new(Utc::now))
    }

    /// A clock that returns what `now` returns.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Truncates to microseconds, the precision of PostgreSQL, so that a stored timestamp compares equal to the
/// one that was written.
#[must_use]
pub fn truncate_to_micros(at: Timestamp) -> Timestamp {
    DateTime::from_timestamp_micros(at.timestamp_micros())
        .expect("the microseconds come from a valid timestamp")
}
