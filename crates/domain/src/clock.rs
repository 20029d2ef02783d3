//! Time as an argument.

use std::sync::Arc;

use chrono::{DateTime, Utc};

/// A moment in UTC. On the wire it is RFC 3339.
pub type Timestamp = DateTime<Utc>;

/// Where a program gets the time from. Cloning is cheap; tests hand in a clock of their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that asks the machine"
        )]
        Self(Arc::new(Utc::now))
    }

    /// A clock that tells what `now` returns.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
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

/// Microseconds are what PostgreSQL keeps; a moment cut to them reads back equal from every store.
#[must_use]
pub fn truncate_to_micros(at: Timestamp) -> Timestamp {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}
