//! The stock engine: commands wait in a short queue, and one statement after the other writes the decisions on
//! all that wait.
//!
//! While one batch commits, the next one collects; nobody waits for a batch to fill. A hot product then costs
//! one commit for each batch instead of one for each buyer. A program has one loop: a second one was measured,
//! and only splits the batches. Several instances are safe: a batch is written only where every row is as it
//! was read, or else decided again with the rows locked. Who asks twice, because an answer was lost, is
//! answered by the command's id.

mod batch;
mod batch_state;
pub mod commands;
mod decisions;
mod event_batcher;
mod store;

use domain::Clock;
use event_publishing::RelayHandle;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

pub use batch_state::{BatchState, Change, Changes, Snapshot};
pub use commands::{AffectedRows, Command};
pub use store::{StoreError, find_expired_reservations, find_level, find_reservation, ping};

/// How many commands may wait. More than a second's work: who would wait longer is told to come again.
pub const QUEUE_CAPACITY: usize = 8_192;

/// Hands commands to the batches. Cloning is cheap; when the last clone is gone, the batches end.
#[derive(Clone)]
pub struct Engine {
    queue: mpsc::Sender<Box<dyn Job>>,
}

/// The command was not decided, or nobody knows whether it was. It can be sent again as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too many commands are waiting.
    #[error("too many commands are waiting")]
    QueueFull,
    /// Its batch failed, or the answer to its commit was lost.
    #[error("the batch failed")]
    BatchFailed,
}

impl Engine {
    /// Starts deciding batches on a connection of its own to the database of `pool`. A product is low when
    /// `low_threshold` pieces or fewer can be bought. `relay` is handed each batch's events once they stand.
    ///
    /// The task ends when every clone of the engine is gone and what was waiting is decided.
    pub fn start(
        pool: &PgPool,
        low_threshold: i64,
        clock: Clock,
        relay: RelayHandle,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(QUEUE_CAPACITY);
        let options = PgConnectOptions::clone(&pool.connect_options());
        let task = tokio::spawn(batch::run(waiting, options, low_threshold, clock, relay));
        (Self { queue }, task)
    }

    /// Has a command decided. Fails at once when too many are waiting.
    pub async fn submit<C: Command>(&self, command: C) -> Result<C::Output, SubmitError> {
        let (job, answer) = pending_command(command);
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => SubmitError::BatchFailed,
        })?;
        answer.await.map_err(|_| SubmitError::BatchFailed)
    }

    /// Has a command decided, and waits for room in the queue if need be: for work that nobody stands in line
    /// for.
    pub async fn submit_waiting<C: Command>(&self, command: C) -> Result<C::Output, SubmitError> {
        let (job, answer) = pending_command(command);
        self.queue.send(job).await.map_err(|_| SubmitError::BatchFailed)?;
        answer.await.map_err(|_| SubmitError::BatchFailed)
    }
}

/// A command of whatever kind, as a batch sees it.
trait Job: Send {
    fn affected_rows(&self, rows: &mut AffectedRows);
    /// Decides and keeps the answer until the batch stands.
    fn decide(&mut self, books: &mut BatchState);
    /// Tells the answer. Dropping the job instead tells that there is none.
    fn send_reply(self: Box<Self>);
}

/// A command and the one who waits for its answer.
struct PendingCommand<C: Command> {
    command: C,
    output: Option<C::Output>,
    reply: oneshot::Sender<C::Output>,
}

/// A command as a batch takes it, and where its answer comes out.
fn pending_command<C: Command>(command: C) -> (Box<dyn Job>, oneshot::Receiver<C::Output>) {
    let (asker, receiver) = oneshot::channel();
    (
        Box::new(PendingCommand {
            command,
            output: None,
            reply: asker,
        }),
        receiver,
    )
}

impl<C: Command> Job for PendingCommand<C> {
    fn affected_rows(&self, rows: &mut AffectedRows) {
        self.command.affected_rows(rows);
    }

    fn decide(&mut self, books: &mut BatchState) {
        self.output = Some(self.command.decide(books));
    }

    fn send_reply(self: Box<Self>) {
        if let Some(answer) = self.output {
            // Whoever has left will ask again, by the same id.
            let _ = self.reply.send(answer);
        }
    }
}
