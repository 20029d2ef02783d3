//! The stock engine: a bounded command queue and one loop that processes all queued commands as a batch.
//!
//! While one batch commits, the next one collects; no command waits for a batch to fill. A hot product
//! therefore costs one commit per batch instead of one per customer. Each process runs a single loop:
//! measurements showed that a second one only splits the batches. Several instances are safe: a batch is
//! written only if every row is still as it was read, and is otherwise decided again with the rows locked.
//! Commands are idempotent by id, so a caller that lost a response can repeat its command.

mod batch;
mod batch_state;
pub mod commands;
mod decisions;
mod event_batcher;
mod store;

use domain::Clock;
use event_publishing::RelayHandle;
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::live_stock::LevelChanges;

pub use batch_state::{BatchState, Change, Changes, Snapshot};
pub use commands::{AffectedRows, Command};
pub use store::{
    StoreError, find_expired_reservations, find_level, find_levels_changed_since, find_reservation, ping,
};

/// Maximum number of queued commands: more than a second's work. Beyond it, [`Engine::submit`] fails at once.
pub const QUEUE_CAPACITY: usize = 8_192;

/// Handle to the engine. Cloning is cheap; dropping the last clone stops the batch loop.
#[derive(Clone)]
pub struct Engine {
    queue: mpsc::Sender<Box<dyn Job>>,
}

/// The command was not processed, or its outcome is unknown. It can be submitted again unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("the command queue is full")]
    QueueFull,
    /// The batch failed, or the response to its commit was lost.
    #[error("the batch failed")]
    BatchFailed,
}

impl Engine {
    /// Starts the batch loop on a dedicated connection to the database of `pool`. A product is low when at
    /// most `low_threshold` units are available. After the commit of each batch, `relay` is notified of its
    /// events and `level_changes` of its changed levels.
    ///
    /// The task ends when every clone of the engine has been dropped and all queued commands are processed.
    pub fn start(
        pool: &PgPool,
        low_threshold: i64,
        clock: Clock,
        relay: RelayHandle,
        level_changes: LevelChanges,
    ) -> (Self, JoinHandle<()>) {
        let (queue, queued) = mpsc::channel(QUEUE_CAPACITY);
        let task = tokio::spawn(batch::run(
            queued,
            pool.clone(),
            low_threshold,
            clock,
            relay,
            level_changes,
        ));
        (Self { queue }, task)
    }

    /// Processes a command. Fails at once if the queue is full.
    pub async fn submit<C: Command>(&self, command: C) -> Result<C::Output, SubmitError> {
        let (job, output) = pending_command(command);
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => SubmitError::BatchFailed,
        })?;
        output.await.map_err(|_| SubmitError::BatchFailed)
    }

    /// Processes a command, waiting for room in the queue: for background work without a waiting client.
    pub async fn submit_waiting<C: Command>(&self, command: C) -> Result<C::Output, SubmitError> {
        let (job, output) = pending_command(command);
        self.queue.send(job).await.map_err(|_| SubmitError::BatchFailed)?;
        output.await.map_err(|_| SubmitError::BatchFailed)
    }
}

/// Type-erased command in a batch.
trait Job: Send {
    fn affected_rows(&self, rows: &mut AffectedRows);
    /// Decides the command and keeps its output until the batch is committed.
    fn decide(&mut self, state: &mut BatchState);
    /// Sends the output to the caller. Dropping the job instead makes the caller fail with
    /// [`SubmitError::BatchFailed`].
    fn send_reply(self: Box<Self>);
}

/// A command and the channel to its caller.
struct PendingCommand<C: Command> {
    command: C,
    output: Option<C::Output>,
    reply: oneshot::Sender<C::Output>,
}

/// Boxes a command as a job, and returns the receiver of its output.
fn pending_command<C: Command>(command: C) -> (Box<dyn Job>, oneshot::Receiver<C::Output>) {
    let (reply, receiver) = oneshot::channel();
    (
        Box::new(PendingCommand {
            command,
            output: None,
            reply,
        }),
        receiver,
    )
}

impl<C: Command> Job for PendingCommand<C> {
    fn affected_rows(&self, rows: &mut AffectedRows) {
        self.command.affected_rows(rows);
    }

    fn decide(&mut self, state: &mut BatchState) {
        self.output = Some(self.command.decide(state));
    }

    fn send_reply(self: Box<Self>) {
        if let Some(output) = self.output {
            // A caller that has gone away can repeat the command with the same id.
            let _ = self.reply.send(output);
        }
    }
}
