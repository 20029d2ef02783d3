//! Outboxes of changes in PostgreSQL: the tables of the schema `outbox`.

use std::num::TryFromIntError;

use async_trait::async_trait;
use chrono::TimeDelta;
use database::DatabaseError;
use domain::{EventId, Timestamp};
use events::OutboxEvent;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Backlog, Outbox, OutboxEntry, OutboxError, RELAY_DELAY};

/// Defines the outbox of one owner of data. The owners have tables of their own, so that the role of a
/// program has rights to its outboxes only. A macro, because `query!` needs the table's name in its text.
macro_rules! postgres_outbox {
    ($(#[$doc:meta])* $outbox:ident, $table:literal, $relay_delay:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $outbox(PgPool);

        impl $outbox {
            #[must_use]
            pub fn new(pool: PgPool) -> Self {
                Self(pool)
            }

            /// Adds events to the outbox, in the transaction of the change that they describe.
            pub async fn enqueue(
                connection: &mut PgConnection,
                events: &[OutboxEvent],
                now: Timestamp,
            ) -> Result<(), DatabaseError> {
                if events.is_empty() {
                    return Ok(());
                }
                let ids: Vec<Uuid> = events.iter().map(|event| event.event_id.0).collect();
                let sources: Vec<String> = events.iter().map(|event| event.source.clone()).collect();
                let detail_types: Vec<String> =
                    events.iter().map(|event| event.detail_type.clone()).collect();
                let details: Vec<String> = events.iter().map(|event| event.detail.clone()).collect();
                let times: Vec<Timestamp> = events.iter().map(|event| event.occurred_at).collect();
                sqlx::query!(
                    "INSERT INTO " + $table
                        + " (event_id, source, detail_type, detail, occurred_at, next_attempt_at)
                       SELECT event_id, source, detail_type, detail, occurred_at, $6
                       FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
                            AS new (event_id, source, detail_type, detail, occurred_at)",
                    &ids,
                    &sources,
                    &detail_types,
                    &details,
                    &times,
                    now + $relay_delay,
                )
                .execute(connection)
                .await?;
                Ok(())
            }
        }

        #[async_trait]
        impl Outbox for $outbox {
            fn store(&self) -> &'static str {
                $table
            }

            async fn fetch_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>, OutboxError> {
                let rows = sqlx::query!(
                    "SELECT event_id, source, detail_type, detail, occurred_at, attempts FROM " + $table
                        + " WHERE next_attempt_at <= $1 ORDER BY next_attempt_at LIMIT $2",
                    now,
                    i64::from(limit),
                )
                .fetch_all(&self.0)
                .await?;
                rows.into_iter()
                    .map(|row| {
                        Ok(OutboxEntry {
                            attempts: u32::try_from(row.attempts)?,
                            event: OutboxEvent {
                                event_id: EventId(row.event_id),
                                source: row.source,
                                detail_type: row.detail_type,
                                detail: row.detail,
                                occurred_at: row.occurred_at,
                            },
                        })
                    })
                    .collect()
            }

            async fn remove(&self, published: &[EventId]) -> Result<(), OutboxError> {
                let ids: Vec<Uuid> = published.iter().map(|id| id.0).collect();
                sqlx::query!("DELETE FROM " + $table + " WHERE event_id = ANY($1)", &ids)
                    .execute(&self.0)
                    .await?;
                Ok(())
            }

            async fn retry_at(&self, entry: &OutboxEntry, at: Timestamp) -> Result<(), OutboxError> {
                sqlx::query!(
                    "UPDATE " + $table + " SET attempts = $2, next_attempt_at = $3 WHERE event_id = $1",
                    entry.event.event_id.0,
                    i32::try_from(entry.attempts)?,
                    at,
                )
                .execute(&self.0)
                .await?;
                Ok(())
            }

            async fn backlog(&self) -> Result<Backlog, OutboxError> {
                let row = sqlx::query!(
                    r#"SELECT count(*) AS "entries!", min(occurred_at) AS oldest FROM "# + $table
                )
                .fetch_one(&self.0)
                .await?;
                Ok(Backlog {
                    entries: u64::try_from(row.entries)?,
                    oldest: row.oldest,
                })
            }
        }
    };
}

postgres_outbox!(
    /// Events of products. core-api writes and publishes them.
    CatalogOutbox,
    "outbox.catalog_events",
    RELAY_DELAY
);
postgres_outbox!(
    /// Events of stock. stock-service writes and publishes them.
    InventoryOutbox,
    "outbox.inventory_events",
    RELAY_DELAY
);
postgres_outbox!(
    /// Events of accounts. The auth functions write them, and core-api publishes them, because a function
    /// runs for one request only. The relay need not leave them time: only its sweeps publish them.
    AccountOutbox,
    "outbox.account_events",
    TimeDelta::zero()
);

impl From<TryFromIntError> for OutboxError {
    fn from(error: TryFromIntError) -> Self {
        Self(Box::new(error))
    }
}

impl From<sqlx::Error> for OutboxError {
    fn from(error: sqlx::Error) -> Self {
        Self(Box::new(error))
    }
}
