//! The batch loop: takes the queued commands, processes them in one transaction and replies after the commit.

use std::{collections::BTreeMap, time::Duration};

use domain::{Clock, clock::truncate_to_micros};
use event_publishing::RelayHandle;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::sync::mpsc;

use super::{AffectedRows, BatchState, Changes, Job, Snapshot, StoreError, event_batcher, store};
use crate::live_stock::LevelChanges;

/// Maximum commands per batch.
const BATCH_LIMIT: usize = 512;

/// Timeout of a batch including its retries; on expiry its connection is dropped. The database's own
/// statement and lock timeouts are shorter, so this one fires only when the network loses their responses.
const BATCH_TIMEOUT: Duration = Duration::from_secs(12);

/// Timeout of connecting to the database.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that arrive while a batch is being read join it, at the price of a further read, if they number
/// at least one for every `REREAD_RATIO` commands already read. Otherwise they wait for the next batch.
const REREAD_RATIO: usize = 4;

/// Maximum attempts per batch.
const MAX_ATTEMPTS: u32 = 5;

/// Query planner settings of the engine's connection. Statements are planned once, because the same plan
/// suits one row and a thousand, and must find every row by its key. Only bitmap scans stay enabled because
/// they always need an index: a sequential scan planned while a table was small would keep reading the whole
/// table as it grows.
const PLANNER_SETTINGS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_indexscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// Processes batches until the command queue is closed and empty.
pub(super) async fn run(
    mut queued: mpsc::Receiver<Box<dyn Job>>,
    pool: PgPool,
    low_threshold: i64,
    clock: Clock,
    relay: RelayHandle,
    level_changes: LevelChanges,
) {
    let mut processor = BatchProcessor {
        pool,
        connection: None,
        low_threshold,
        clock,
    };
    let (event_sender, event_receiver) = mpsc::unbounded_channel();
    let event_batcher_task = tokio::spawn(event_batcher::run(event_receiver, relay));
    let mut batch = Vec::with_capacity(BATCH_LIMIT);
    let mut failing = false;
    while queued.recv_many(&mut batch, BATCH_LIMIT).await > 0 {
        drain_ready(&mut batch, &mut queued).await;
        let processed = tokio::time::timeout(BATCH_TIMEOUT, processor.process(&mut batch, &mut queued)).await;
        match processed.unwrap_or(Err(StoreError::TimedOut)) {
            Ok(committed) => {
                batch.drain(..).for_each(Job::send_reply);
                if !committed.events.is_empty() {
                    // If the batcher has stopped, the relay's sweep finds the events in the outbox.
                    let _ = event_sender.send(committed.events);
                }
                level_changes.record(&committed.levels);
                if std::mem::take(&mut failing) {
                    tracing::info!("batch processing resumed");
                }
            }
            Err(error) => {
                let commands = batch.len();
                batch.clear();
                if !std::mem::replace(&mut failing, true) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, commands, "batch failed");
                }
            }
        }
    }
    if let Some(connection) = processor.connection {
        // All transactions have ended, so an error while closing is harmless.
        let _ = connection.close().await;
    }
    drop(event_sender);
    let _ = event_batcher_task.await;
}

/// Processes batches on one connection.
struct BatchProcessor {
    /// Has the present address and credentials of the database; its connections are not used.
    pool: PgPool,
    /// `None` after a failed batch: dropping the connection ends its open transaction.
    connection: Option<PgConnection>,
    low_threshold: i64,
    clock: Clock,
}

impl BatchProcessor {
    /// Processes a batch, retrying transient errors. A retry is safe even if the outcome of the previous
    /// attempt is unknown, because every command is idempotent by its id.
    async fn process(
        &mut self,
        batch: &mut Vec<Box<dyn Job>>,
        queued: &mut mpsc::Receiver<Box<dyn Job>>,
    ) -> Result<Changes, StoreError> {
        let mut attempt = 1;
        loop {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let processed = if attempt == 1 {
                self.process_unlocked(&mut connection, batch, queued).await
            } else {
                self.process_locked(&mut connection, batch).await
            };
            match processed {
                Err(error) if attempt < MAX_ATTEMPTS && error.is_transient() => {
                    let conflict = error.is_conflict();
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, attempt, "retrying batch");
                    self.connection = Some(connection).filter(|_| conflict);
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(changes) => {
                    self.connection = Some(connection);
                    return Ok(changes);
                }
            }
        }
    }

    /// Optimistic path: reads, decides and writes in two round trips. Fails with a conflict if another
    /// instance changed one of the rows in between. Commands that arrive during the read join the batch.
    async fn process_unlocked(
        &self,
        connection: &mut PgConnection,
        batch: &mut Vec<Box<dyn Job>>,
        queued: &mut mpsc::Receiver<Box<dyn Job>>,
    ) -> Result<Changes, StoreError> {
        let mut snapshot = self.empty_snapshot();
        let mut read = 0;
        while read < batch.len() {
            store::read(connection, &affected_rows(&batch[read..]), &mut snapshot).await?;
            read = batch.len();
            if queued.len() * REREAD_RATIO >= read {
                fill(batch, queued);
            }
        }
        self.decide_and_write(connection, batch, snapshot).await
    }

    /// Pessimistic path: locks every row before reading it, so that other instances wait.
    async fn process_locked(
        &self,
        connection: &mut PgConnection,
        batch: &mut [Box<dyn Job>],
    ) -> Result<Changes, StoreError> {
        let mut transaction = connection.begin().await?;
        let rows = affected_rows(batch);
        store::lock(&mut transaction, &rows).await?;
        let mut snapshot = self.empty_snapshot();
        store::read(&mut transaction, &rows, &mut snapshot).await?;
        let changes = self.decide_and_write(&mut transaction, batch, snapshot).await?;
        transaction.commit().await?;
        Ok(changes)
    }

    async fn decide_and_write(
        &self,
        connection: &mut PgConnection,
        batch: &mut [Box<dyn Job>],
        snapshot: Snapshot,
    ) -> Result<Changes, StoreError> {
        let now = truncate_to_micros(self.clock.now());
        let mut state = BatchState::new(Snapshot { now, ..snapshot });
        for job in batch {
            job.decide(&mut state);
        }
        let changes = state.into_changes();
        store::write(connection, &changes, now).await?;
        Ok(changes)
    }

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
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options(PLANNER_SETTINGS);
        match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(StoreError::TimedOut),
        }
    }
}

fn affected_rows(batch: &[Box<dyn Job>]) -> AffectedRows {
    let mut rows = AffectedRows::default();
    batch.iter().for_each(|job| job.affected_rows(&mut rows));
    rows
}

/// Yields to the scheduler until no further command arrives, because the first command wakes this task before
/// other ready tasks could enqueue theirs. A single command is not delayed: one yield without arrivals ends
/// it.
async fn drain_ready(batch: &mut Vec<Box<dyn Job>>, queued: &mut mpsc::Receiver<Box<dyn Job>>) {
    let mut before = 0;
    while before < batch.len() {
        before = batch.len();
        tokio::task::yield_now().await;
        fill(batch, queued);
    }
}

/// Moves queued commands into the batch up to [`BATCH_LIMIT`].
fn fill(batch: &mut Vec<Box<dyn Job>>, queued: &mut mpsc::Receiver<Box<dyn Job>>) {
    while batch.len() < BATCH_LIMIT
        && let Ok(job) = queued.try_recv()
    {
        batch.push(job);
    }
}
