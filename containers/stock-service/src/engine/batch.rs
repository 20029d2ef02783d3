//! The loop that takes what waits, decides it in one transaction, and answers once that stands.

use std::time::Duration;

use bus::RelayHandle;
use domain::{Clock, clock::to_micros};
use events::Outgoing;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::mpsc;

use super::{Books, Concerned, Job, StoreError, store};

/// The most commands in one batch.
const BATCH_LIMIT: usize = 512;

/// The longest that a batch may take with all its attempts, before its connection is given up. The
/// database's own limits for statements and locks come first, unless the network swallows their answers.
const BATCH_TIMEOUT: Duration = Duration::from_secs(12);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a batch is tried.
const ATTEMPTS: u32 = 5;

/// Decides batches until the queue is closed and empty.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
    options: PgConnectOptions,
    low_threshold: i64,
    clock: Clock,
    relay: RelayHandle,
) {
    // The statements are the same for one row as for a thousand; planning them for each batch is a waste.
    let options = options.options([("plan_cache_mode", "force_generic_plan")]);
    let mut desk = Desk {
        options,
        connection: None,
        low_threshold,
        clock,
    };
    let mut batch = Vec::with_capacity(BATCH_LIMIT);
    let mut failing = false;
    while waiting.recv_many(&mut batch, BATCH_LIMIT).await > 0 {
        match tokio::time::timeout(BATCH_TIMEOUT, desk.settle(&mut batch))
            .await
            .unwrap_or(Err(StoreError::TimedOut))
        {
            Ok(events) => {
                batch.drain(..).for_each(Job::answer);
                if !events.is_empty() {
                    relay.hand_over(events);
                }
                if std::mem::take(&mut failing) {
                    tracing::info!("batches are decided again");
                }
            }
            Err(error) => {
                let commands = batch.len();
                batch.clear();
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        commands,
                        "a batch failed"
                    );
                }
            }
        }
    }
    if let Some(connection) = desk.connection {
        // The transactions have ended; the server notices a connection that is merely dropped as well.
        let _ = connection.close().await;
    }
}

/// Where batches are decided.
struct Desk {
    options: PgConnectOptions,
    /// None when the last batch did not end well: whatever it left behind ends with its connection.
    connection: Option<PgConnection>,
    low_threshold: i64,
    clock: Clock,
}

impl Desk {
    /// Decides a batch and commits it, as often as it takes. A repetition is safe even when nobody knows
    /// whether the commit before it came through: every command is answered by its id.
    async fn settle(&mut self, batch: &mut [Box<dyn Job>]) -> Result<Vec<Outgoing>, StoreError> {
        let mut attempt = 1;
        loop {
            match self.attempt(batch).await {
                Err(error) if attempt < ATTEMPTS && error.is_passing() => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        attempt,
                        "a batch is tried again"
                    );
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&mut self, batch: &mut [Box<dyn Job>]) -> Result<Vec<Outgoing>, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut rows = Concerned::default();
        batch.iter().for_each(|job| job.concerns(&mut rows));

        let mut transaction = connection.begin().await?;
        let now = || to_micros(self.clock.now());
        let snapshot = store::lock(&mut transaction, &rows, now, self.low_threshold).await?;
        let now = snapshot.now;
        let mut books = Books::open(snapshot);
        for job in batch {
            job.decide(&mut books);
        }
        let changes = books.close();
        store::write(&mut transaction, &changes, now).await?;
        transaction.commit().await?;

        self.connection = Some(connection);
        Ok(changes.events)
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options)).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(StoreError::TimedOut),
        }
    }
}
