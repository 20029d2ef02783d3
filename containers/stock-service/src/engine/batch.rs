//! The loop that takes what waits, decides it in one transaction, and answers once that stands.

use std::{collections::BTreeMap, time::Duration};

use domain::{Clock, clock::truncate_to_micros};
use event_publishing::RelayHandle;
use events::OutboxEvent;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::mpsc;

use super::{AffectedRows, BatchState, Job, Snapshot, StoreError, event_batcher, store};

/// The most commands in one batch.
const BATCH_LIMIT: usize = 512;

/// The longest that a batch may take with all its attempts, before its connection is given up. The
/// database's own limits for statements and locks come first, unless the network swallows their answers.
const BATCH_TIMEOUT: Duration = Duration::from_secs(12);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that come while a batch is read are worth another reading when they are at least this part of it;
/// fewer wait for the next batch.
const REREAD_RATIO: usize = 4;

/// How often a batch is tried.
const MAX_ATTEMPTS: u32 = 5;

/// How a desk's statements are planned: once, because they are the same for one row as for a thousand, and so
/// that every row is found by its key. A bitmap scan is the one scan that cannot be had without a key; with the
/// others allowed, a plan made while a table was small would go on reading the whole of it as it grows.
const PLANNER_SETTINGS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_indexscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// Decides batches until the queue is closed and empty.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
    options: PgConnectOptions,
    low_threshold: i64,
    clock: Clock,
    relay: RelayHandle,
) {
    let mut desk = BatchProcessor {
        options: options.options(PLANNER_SETTINGS),
        connection: None,
        low_threshold,
        clock,
    };
    let (tell, told) = mpsc::unbounded_channel();
    let telling = tokio::spawn(event_batcher::run(told, relay));
    let mut batch = Vec::with_capacity(BATCH_LIMIT);
    let mut failing = false;
    while waiting.recv_many(&mut batch, BATCH_LIMIT).await > 0 {
        drain_ready(&mut batch, &mut waiting).await;
        let settled = tokio::time::timeout(BATCH_TIMEOUT, desk.process(&mut batch, &mut waiting)).await;
        match settled.unwrap_or(Err(StoreError::TimedOut)) {
            Ok(events) => {
                batch.drain(..).for_each(Job::send_reply);
                if !events.is_empty() {
                    // Should nobody hear it, the relay's sweep finds it in the outbox.
                    let _ = tell.send(events);
                }
                if std::mem::take(&mut failing) {
                    tracing::info!("batches are decided again");
                }
            }
            Err(error) => {
                let commands = batch.len();
                batch.clear();
                if !std::mem::replace(&mut failing, true) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, commands, "a batch failed");
                }
            }
        }
    }
    if let Some(connection) = desk.connection {
        // The transactions have ended; the server notices a connection that is merely dropped as well.
        let _ = connection.close().await;
    }
    drop(tell);
    let _ = telling.await;
}

/// Where batches are decided.
struct BatchProcessor {
    options: PgConnectOptions,
    /// None when the last batch did not end well: whatever it left behind ends with its connection.
    connection: Option<PgConnection>,
    low_threshold: i64,
    clock: Clock,
}

impl BatchProcessor {
    /// Decides a batch and writes it, as often as it takes. A repetition is safe even when nobody knows
    /// whether what was written before it stands: every command is answered by its id.
    async fn process(
        &mut self,
        batch: &mut Vec<Box<dyn Job>>,
        waiting: &mut mpsc::Receiver<Box<dyn Job>>,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        let mut attempt = 1;
        loop {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let settled = if attempt == 1 {
                self.process_unlocked(&mut connection, batch, waiting).await
            } else {
                self.process_locked(&mut connection, batch).await
            };
            match settled {
                Err(error) if attempt < MAX_ATTEMPTS && error.is_transient() => {
                    let conflict = error.is_conflict();
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, attempt, "a batch is tried again");
                    self.connection = Some(connection).filter(|_| conflict);
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(events) => {
                    self.connection = Some(connection);
                    return Ok(events);
                }
            }
        }
    }

    /// Reads, decides and writes: two ways to the database and back. It fails when another instance changes
    /// one of the rows in between. Whoever comes while it reads is read as well and shares the commit.
    async fn process_unlocked(
        &self,
        connection: &mut PgConnection,
        batch: &mut Vec<Box<dyn Job>>,
        waiting: &mut mpsc::Receiver<Box<dyn Job>>,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        let mut snapshot = self.empty_snapshot();
        let mut read = 0;
        while read < batch.len() {
            store::read(connection, &affected_rows(&batch[read..]), &mut snapshot).await?;
            read = batch.len();
            if waiting.len() * REREAD_RATIO >= read {
                fill(batch, waiting);
            }
        }
        self.decide_and_write(connection, batch, snapshot).await
    }

    /// The same with every row locked before it is read, so that other instances wait.
    async fn process_locked(
        &self,
        connection: &mut PgConnection,
        batch: &mut [Box<dyn Job>],
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        let mut transaction = connection.begin().await?;
        let rows = affected_rows(batch);
        store::lock(&mut transaction, &rows).await?;
        let mut snapshot = self.empty_snapshot();
        store::read(&mut transaction, &rows, &mut snapshot).await?;
        let events = self.decide_and_write(&mut transaction, batch, snapshot).await?;
        transaction.commit().await?;
        Ok(events)
    }

    async fn decide_and_write(
        &self,
        connection: &mut PgConnection,
        batch: &mut [Box<dyn Job>],
        snapshot: Snapshot,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        let now = truncate_to_micros(self.clock.now());
        let mut books = BatchState::new(Snapshot { now, ..snapshot });
        for job in batch {
            job.decide(&mut books);
        }
        let changes = books.into_changes();
        store::write(connection, &changes, now).await?;
        Ok(changes.events)
    }

    /// A snapshot of nothing yet.
    fn empty_snapshot(&self) -> Snapshot {
        Snapshot {
            now: truncate_to_micros(self.clock.now()),
            low_threshold: self.low_threshold,
            levels: BTreeMap::new(),
            reservations: BTreeMap::new(),
            adjustments: BTreeMap::new(),
        }
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options)).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(StoreError::TimedOut),
        }
    }
}

/// The rows that commands concern.
fn affected_rows(batch: &[Box<dyn Job>]) -> AffectedRows {
    let mut rows = AffectedRows::default();
    batch.iter().for_each(|job| job.affected_rows(&mut rows));
    rows
}

/// Lets those into a batch who are about to ask: the first of them woke this task before the others had their
/// turn. It ends with the first turn in which nobody came; a lone buyer waits for nothing.
async fn drain_ready(batch: &mut Vec<Box<dyn Job>>, waiting: &mut mpsc::Receiver<Box<dyn Job>>) {
    let mut before = 0;
    while before < batch.len() {
        before = batch.len();
        tokio::task::yield_now().await;
        fill(batch, waiting);
    }
}

/// Takes into a batch who waits, as far as there is room.
fn fill(batch: &mut Vec<Box<dyn Job>>, waiting: &mut mpsc::Receiver<Box<dyn Job>>) {
    while batch.len() < BATCH_LIMIT
        && let Ok(job) = waiting.try_recv()
    {
        batch.push(job);
    }
}
