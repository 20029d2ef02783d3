//! Outboxes: events that are committed but not yet published. DynamoDB has one, and PostgreSQL has one per
//! owner of data.

mod dynamo;
#[cfg(feature = "postgres")]
mod postgres;

use async_trait::async_trait;
use chrono::TimeDelta;
use domain::{EventId, Timestamp};
use events::OutboxEvent;

pub use dynamo::DynamoOutbox;
#[cfg(feature = "postgres")]
pub use postgres::{AccountOutbox, CatalogOutbox, InventoryOutbox};

/// How long the committing process has to publish an entry before the relay treats the entry as orphaned.
pub const RELAY_DELAY: TimeDelta = TimeDelta::seconds(5);

/// Attempts before an entry is parked. With [`backoff`] they span a little over two hours.
const MAX_ATTEMPTS: u32 = 30;

/// An unpublished event.
#[derive(Clone, Debug)]
pub struct OutboxEntry {
    pub event: OutboxEvent,
    /// Failed attempts of the relay.
    pub attempts: u32,
}

/// What to do with an entry after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    RetryAt(Timestamp),
    /// Send the event to the parking queue; only an operator can publish it again.
    Park,
}

/// All entries of an outbox, due or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub entries: u64,
    /// `occurred_at` of the oldest event.
    pub oldest: Option<Timestamp>,
}

/// The database of the outbox failed.
#[derive(Debug, thiserror::Error)]
#[error("outbox error")]
pub struct OutboxError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Operations that the relay needs from an outbox.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Name of the outbox, as the metrics label `store`.
    fn store(&self) -> &'static str;
    /// Returns up to `limit` entries whose next attempt is due, oldest first.
    async fn fetch_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>, OutboxError>;
    /// Removes published entries. Entries that no longer exist are ignored.
    async fn remove(&self, published: &[EventId]) -> Result<(), OutboxError>;
    /// Stores the entry's attempts and schedules the next one. Does nothing if the entry no longer exists.
    async fn retry_at(&self, entry: &OutboxEntry, at: Timestamp) -> Result<(), OutboxError>;
    async fn backlog(&self) -> Result<Backlog, OutboxError>;
}

/// Decides what to do with an entry after its `attempts`-th attempt failed at `now`. A `permanent` failure is
/// parked at once, because EventBridge would reject the event again.
#[must_use]
pub fn retry_decision(attempts: u32, permanent: bool, now: Timestamp) -> RetryDecision {
    if permanent || attempts >= MAX_ATTEMPTS {
        RetryDecision::Park
    } else {
        RetryDecision::RetryAt(now + backoff(attempts))
    }
}

/// Doubles from two seconds up to five minutes.
pub(crate) fn backoff(attempts: u32) -> TimeDelta {
    TimeDelta::seconds((1_i64 << attempts.min(9)).min(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_exponentially_then_parks() {
        let now = Timestamp::UNIX_EPOCH;
        let seconds = |attempts| match retry_decision(attempts, false, now) {
            RetryDecision::RetryAt(at) => (at - now).num_seconds(),
            RetryDecision::Park => -1,
        };
        assert_eq!([1, 2, 3, 8, 9, 29, 30].map(seconds), [2, 4, 8, 256, 300, 300, -1]);
        assert_eq!(retry_decision(1, true, now), RetryDecision::Park);
    }
}
