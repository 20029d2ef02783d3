//! The queue `stock-update-queue`: products that are new in the catalogue, and adjustments from elsewhere.
//!
//! A message is deleted once what it asks for is committed. What is malformed, unknown or refused stays in the
//! queue, which moves it to its dead-letter queue after the receives that its redrive policy grants.

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

/// The most that SQS gives at once.
const MAX_MESSAGES: i32 = 10;

/// The longest that SQS lets a poll wait, in seconds.
const LONG_POLL_SECONDS: i32 = 20;

/// How long to wait after the first failure; it doubles up to [`MAX_PAUSE`].
const MIN_BACKOFF: Duration = Duration::from_millis(500);

/// The longest wait between two attempts to reach what is down.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Consumes a queue. Cloning is cheap.
#[derive(Clone)]
pub struct Consumer {
    client: Client,
    queue: String,
    engine: Engine,
    pool: PgPool,
}

/// Why nothing can be consumed at the moment.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// SQS says no, or nothing.
    #[error("the queue cannot be used: {0}")]
    Queue(String),
    /// There is nothing to decide with.
    #[error("the database cannot be reached")]
    Store(#[from] StoreError),
    /// The engine did not decide. The messages come again.
    #[error("messages were not decided")]
    Engine(#[from] SubmitError),
}

/// Why a message stays in the queue, and in the end goes to the dead-letter queue.
#[derive(Debug, thiserror::Error)]
enum RejectedMessage {
    #[error("it is none of the events that are expected here")]
    UnexpectedEvent(#[from] EventParseError),
    #[error("its adjustment is not valid")]
    Invalid(#[from] InvalidCommand),
    #[error("it is refused")]
    Rejected(#[from] StockError),
}

impl Consumer {
    /// A consumer of the queue named `queue`, whose messages `engine` decides in the database of `pool`.
    #[must_use]
    pub fn new(client: Client, queue: impl Into<String>, engine: Engine, pool: PgPool) -> Self {
        Self {
            client,
            queue: queue.into(),
            engine,
            pool,
        }
    }

    /// Works until `stop` is cancelled, and finishes the messages that it has.
    pub async fn run(self, stop: CancellationToken) {
        let mut url = None;
        let mut failing = false;
        let mut pause = MIN_BACKOFF;
        while !stop.is_cancelled() {
            match self.poll_once(&mut url, &stop).await {
                Ok(()) => {
                    pause = MIN_BACKOFF;
                    if std::mem::take(&mut failing) {
                        tracing::info!(queue = self.queue, "the queue is consumed again");
                    }
                }
                Err(error) => {
                    // The queue may have been made anew.
                    url = None;
                    if !std::mem::replace(&mut failing, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, queue = self.queue, "the queue is not consumed");
                    }
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(pause) => pause = MAX_BACKOFF.min(pause * 2),
                    }
                }
            }
        }
    }

    /// Whether the queue is there.
    pub async fn check(&self) -> Result<(), ConsumeError> {
        self.find_url().await.map(drop)
    }

    /// Polls once, works on what comes and deletes what is done.
    async fn poll_once(
        &self,
        url: &mut Option<String>,
        stop: &CancellationToken,
    ) -> Result<(), ConsumeError> {
        // A message that comes while nothing can be decided uses up one of its receives, and would be in the
        // dead-letter queue before a longer outage is over.
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
        let mut done = Vec::new();
        let mut undecided = None;
        for (message, outcome) in messages.iter().zip(outcomes) {
            match outcome {
                Ok(Ok(())) => done.push(message),
                Ok(Err(unwanted)) => {
                    let error = &unwanted as &dyn std::error::Error;
                    let message_id = message.message_id();
                    tracing::warn!(
                        error,
                        message_id,
                        queue = self.queue,
                        "a message is left in the queue"
                    );
                }
                Err(unavailable) => undecided = Some(unavailable),
            }
        }
        self.delete_processed(url, &done).await?;
        undecided.map_or(Ok(()), |unavailable| Err(unavailable.into()))
    }

    async fn process_message(&self, message: &Message) -> Result<Result<(), RejectedMessage>, SubmitError> {
        Ok(match parse_command(message.body().unwrap_or_default()) {
            Ok(QueueCommand::CreateStock(open)) => self
                .engine
                .submit_waiting(open)
                .await?
                .map_err(RejectedMessage::from),
            Ok(QueueCommand::Adjust(adjust)) => self
                .engine
                .submit_waiting(adjust)
                .await?
                .map(drop)
                .map_err(RejectedMessage::from),
            Err(unwanted) => Err(unwanted),
        })
    }

    /// A message that cannot be deleted comes again, and changes nothing then.
    async fn delete_processed(&self, url: &str, done: &[&Message]) -> Result<(), ConsumeError> {
        let entries: Vec<DeleteMessageBatchRequestEntry> = done
            .iter()
            .enumerate()
            .filter_map(|(index, message)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(message.receipt_handle()?)
                    .build()
                    .ok()
            })
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let delete = self
            .client
            .delete_message_batch()
            .queue_url(url)
            .set_entries(Some(entries));
        let answer = delete.send().await.map_err(queue_error)?;
        for failed in answer.failed() {
            tracing::warn!(
                code = failed.code(),
                queue = self.queue,
                "a message could not be deleted"
            );
        }
        Ok(())
    }

    async fn find_url(&self) -> Result<String, ConsumeError> {
        let found = self
            .client
            .get_queue_url()
            .queue_name(&self.queue)
            .send()
            .await
            .map_err(queue_error)?;
        found
            .queue_url
            .ok_or_else(|| ConsumeError::Queue("it has no address".to_owned()))
    }
}

fn queue_error(error: impl std::error::Error) -> ConsumeError {
    ConsumeError::Queue(DisplayErrorContext(error).to_string())
}

/// What a message asks for.
#[derive(Debug)]
enum QueueCommand {
    CreateStock(CreateStock),
    Adjust(Adjust),
}

fn parse_command(body: &str) -> Result<QueueCommand, RejectedMessage> {
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
    let cause = event.follow_up_context();
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
    Ok(QueueCommand::Adjust(Adjust::new(adjustment, cause)?))
}
