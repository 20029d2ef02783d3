//! Consumer of `stock-update-queue`: new catalog products, and stock adjustments requested by other systems.
//!
//! The consumer deletes a message after its command has been committed. Malformed, unknown and rejected
//! messages stay in the queue; SQS moves them to the dead-letter queue after the redrive policy's maximum
//! receive count.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    error::DisplayErrorContext,
    types::{DeleteMessageBatchRequestEntry, Message},
};
use events::{
    EventBridgeEvent, eventbridge::EventParseError, product::ProductCreated, stock::StockAdjustmentRequested,
};
use futures::future::join_all;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{
        Engine, StoreError, SubmitError,
        commands::{Adjust, CreateStock, InvalidCommand},
        ping,
    },
    model::{Adjustment, StockError},
};

/// Maximum messages per receive call (SQS limit).
const MAX_MESSAGES: i32 = 10;

/// Maximum long-poll wait, in seconds (SQS limit).
const LONG_POLL_SECONDS: i32 = 20;

/// Wait after the first failure; it doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(500);

/// Longest wait between two attempts while SQS or the database is unavailable.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Queue consumer. Cloning is cheap.
#[derive(Clone)]
pub struct Consumer {
    client: Client,
    queue: String,
    engine: Engine,
    pool: PgPool,
}

/// The consumer cannot process messages at the moment.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// SQS returned an error or did not respond.
    #[error("SQS request failed: {0}")]
    Queue(String),
    #[error("database check failed")]
    Store(#[from] StoreError),
    /// The engine did not process the commands. SQS delivers the messages again.
    #[error("the engine did not process all messages")]
    Engine(#[from] SubmitError),
}

/// Why a message stays in the queue until SQS moves it to the dead-letter queue.
#[derive(Debug, thiserror::Error)]
enum RejectedMessage {
    #[error("the message has no body")]
    MissingBody,
    #[error("the message is not an event that this queue accepts")]
    UnexpectedEvent(#[from] EventParseError),
    #[error("the adjustment is invalid")]
    Invalid(#[from] InvalidCommand),
    #[error("the command was rejected")]
    Rejected(#[from] StockError),
}

impl Consumer {
    /// `queue` is the queue's name. `pool` must point to the engine's database; the consumer checks it before
    /// each poll.
    #[must_use]
    pub fn new(client: Client, queue: impl Into<String>, engine: Engine, pool: PgPool) -> Self {
        Self {
            client,
            queue: queue.into(),
            engine,
            pool,
        }
    }

    /// Polls until `stop` is cancelled, then finishes the messages already received.
    pub async fn run(self, stop: CancellationToken) {
        let mut url = None;
        let mut failing = false;
        let mut backoff = MIN_BACKOFF;
        while !stop.is_cancelled() {
            match self.poll_once(&mut url, &stop).await {
                Ok(()) => {
                    backoff = MIN_BACKOFF;
                    if std::mem::take(&mut failing) {
                        tracing::info!(queue = self.queue, "queue consumption resumed");
                    }
                }
                Err(error) => {
                    // The queue may have been recreated under another URL.
                    url = None;
                    if !std::mem::replace(&mut failing, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, queue = self.queue, "queue consumption failed");
                    }
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(backoff) => backoff = MAX_BACKOFF.min(backoff * 2),
                    }
                }
            }
        }
    }

    /// Readiness check: fails unless SQS knows the queue.
    pub async fn check(&self) -> Result<(), ConsumeError> {
        self.find_url().await.map(drop)
    }

    /// Polls once, processes the received messages and deletes the completed ones.
    async fn poll_once(
        &self,
        url: &mut Option<String>,
        stop: &CancellationToken,
    ) -> Result<(), ConsumeError> {
        // Receiving a message while the database is down uses up one of its receives, so a longer outage
        // would move valid messages to the dead-letter queue.
        ping(&self.pool).await?;
        let url = match url {
            Some(url) => url,
            None => url.insert(self.find_url().await?),
        };
        let poll = self
            .client
            .receive_message()
            .queue_url(&*url)
            .max_number_of_messages(MAX_MESSAGES)
            .wait_time_seconds(LONG_POLL_SECONDS)
            .send();
        let messages = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            polled = poll => polled.map_err(queue_error)?.messages.unwrap_or_default(),
        };

        let outcomes = join_all(messages.iter().map(|message| self.process_message(message))).await;
        let mut processed = Vec::new();
        let mut unprocessed = None;
        for (message, outcome) in messages.iter().zip(outcomes) {
            match outcome {
                Ok(Ok(())) => processed.push(message),
                Ok(Err(rejected)) => {
                    let error = &rejected as &dyn std::error::Error;
                    let message_id = message.message_id();
                    tracing::warn!(
                        error,
                        message_id,
                        queue = self.queue,
                        "message rejected; it stays in the queue"
                    );
                }
                Err(submit_error) => unprocessed = Some(submit_error),
            }
        }
        self.delete_processed(url, &processed).await?;
        unprocessed.map_or(Ok(()), |submit_error| Err(submit_error.into()))
    }

    async fn process_message(&self, message: &Message) -> Result<Result<(), RejectedMessage>, SubmitError> {
        Ok(match parse_command(message) {
            Ok(QueueCommand::CreateStock(create)) => self
                .engine
                .submit_waiting(create)
                .await?
                .map_err(RejectedMessage::from),
            Ok(QueueCommand::Adjust(adjust)) => self
                .engine
                .submit_waiting(adjust)
                .await?
                .map(drop)
                .map_err(RejectedMessage::from),
            Err(rejected) => Err(rejected),
        })
    }

    /// If a deletion fails, SQS delivers the message again; its command is idempotent.
    async fn delete_processed(&self, url: &str, processed: &[&Message]) -> Result<(), ConsumeError> {
        let entries: Vec<DeleteMessageBatchRequestEntry> = processed
            .iter()
            .enumerate()
            .map(|(index, message)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .set_receipt_handle(message.receipt_handle().map(str::to_owned))
                    .build()
                    .map_err(queue_error)
            })
            .collect::<Result<_, _>>()?;
        if entries.is_empty() {
            return Ok(());
        }
        let delete = self
            .client
            .delete_message_batch()
            .queue_url(url)
            .set_entries(Some(entries));
        let response = delete.send().await.map_err(queue_error)?;
        for failed in response.failed() {
            tracing::warn!(
                code = failed.code(),
                queue = self.queue,
                "processed message could not be deleted"
            );
        }
        Ok(())
    }

    async fn find_url(&self) -> Result<String, ConsumeError> {
        let response = self
            .client
            .get_queue_url()
            .queue_name(&self.queue)
            .send()
            .await
            .map_err(queue_error)?;
        response
            .queue_url
            .ok_or_else(|| ConsumeError::Queue("the response contains no queue URL".to_owned()))
    }
}

fn queue_error(error: impl std::error::Error) -> ConsumeError {
    ConsumeError::Queue(DisplayErrorContext(error).to_string())
}

/// A command parsed from a message.
#[derive(Debug)]
enum QueueCommand {
    CreateStock(CreateStock),
    Adjust(Adjust),
}

fn parse_command(message: &Message) -> Result<QueueCommand, RejectedMessage> {
    let body = message.body().ok_or(RejectedMessage::MissingBody)?;
    match EventBridgeEvent::<ProductCreated>::parse(body) {
        Ok(event) => {
            return Ok(QueueCommand::CreateStock(CreateStock {
                product_id: event.detail.data.0.product_id,
            }));
        }
        Err(EventParseError::UnexpectedDetailType { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let event = EventBridgeEvent::<StockAdjustmentRequested>::parse(body)?.detail;
    let context = event.follow_up_context();
    let StockAdjustmentRequested {
        adjustment_id,
        product_id,
        delta,
        reason,
    } = event.data;
    let adjustment = Adjustment {
        id: adjustment_id,
        product_id,
        delta,
        reason,
    };
    Ok(QueueCommand::Adjust(Adjust::new(adjustment, context)?))
}
