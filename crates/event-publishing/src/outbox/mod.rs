//! Where events wait that have been decided and not yet published: one outbox for each of the two stores.

mod dynamo;
#[cfg(feature = "postgres")]
mod postgres;

use async_trait::async_trait;
use chrono::TimeDelta;
use domain::{EventId, Timestamp};
use events::OutboxEvent;

pub use dynamo::DynamoOutbox;
#[cfg(feature = "postgres")]
pub use postgres::PostgresOutbox;

/// How long an entry is left to whoever committed it, before the relay takes it for left behind.
pub const RELAY_DELAY: TimeDelta = TimeDelta::seconds(5);

/// After this many attempts an entry is parked. With [`backoff`] that is a little over two hours.
const MAX_ATTEMPTS: u32 = 30;

/// An entry of an outbox.
#[derive(Clone, Debug)]
pub struct OutboxEntry {
    /// What is to be published.
    pub event: OutboxEvent,
    /// How often the relay has tried.
    pub attempts: u32,
}

/// What an attempt that failed makes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again then.
    RetryAt(Timestamp),
    /// Nobody tries again until a person has looked.
    Park,
}

/// What waits in an outbox, whether its time has come or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events.
    pub entries: u64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
}

/// An outbox's store failed.
#[derive(Debug, thiserror::Error)]
#[error("the outbox cannot be reached")]
pub struct OutboxError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What the relay needs of an outbox.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Which store it is in, for metrics.
    fn store(&self) -> &'static str;
    /// Entries whose time has come, oldest first, at most `limit`.
    async fn fetch_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>, OutboxError>;
    /// Takes out what has been published. What is not there any more is no error.
    async fn remove(&self, published: &[EventId]) -> Result<(), OutboxError>;
    /// Keeps an entry, with its count of attempts, until it is tried again. What is not there any more stays gone.
    async fn retry_at(&self, entry: &OutboxEntry, at: Timestamp) -> Result<(), OutboxError>;
    /// What waits.
    async fn backlog(&self) -> Result<Backlog, OutboxError>;
}

/// What to do with an entry that has been tried `attempts` times, the last one being the failure at `now`. What
/// the bus refuses for the event's own sake it will refuse as often as it is asked.
#[must_use]
pub fn retry_decision(attempts: u32, for_good: bool, now: Timestamp) -> RetryDecision {
    if for_good || attempts >= MAX_ATTEMPTS {
        RetryDecision::Park
    } else {
        RetryDecision::RetryAt(now + backoff(attempts))
    }
}

/// Doubles from a second up to five minutes.
pub(crate) fn backoff(attempts: u32) -> TimeDelta {
    TimeDelta::seconds((1_i64 << attempts.min(9)).min(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_each_time_and_gives_up_in_the_end() {
        let now = Timestamp::UNIX_EPOCH;
        let seconds = |attempts| match retry_decision(attempts, false, now) {
            RetryDecision::RetryAt(at) => (at - now).num_seconds(),
            RetryDecision::Park => -1,
        };
        assert_eq!([1, 2, 3, 8, 9, 29, 30].map(seconds), [2, 4, 8, 256, 300, 300, -1]);
        assert_eq!(retry_decision(1, true, now), RetryDecision::Park);
    }
}
