//! `dead-letter-archiver`: copies messages of dead-letter queues and parked events to a table, because their
//! queues drop them after 14 days.
//!
//! The function runs every day and copies every message that is in one of the queues, under the id of the
//! message. The messages stay in the queues, from which an operator redrives them. Parked orders need no
//! copy: the orders table keeps them.
//!
//! Requests for account mails and for codes by SMS are not copied. They contain e-mail addresses and
//! telephone numbers, which must not be kept without an end, and their links and codes expire within a day.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::{
    Client as Sqs,
    error::{BuildError, DisplayErrorContext},
    types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName},
};
use domain::{Clock, Timestamp};
use dynamodb_table::{DynamoDbError, Table};
use events::{AccountMailRequest, PhoneCodeRequest};
use lambda_shared::{FunctionContext, FunctionError, Handler, InitError, Invocation};
use serde::Serialize;

/// How long a received message is invisible, in seconds: longer than a run, so that a run receives each
/// message once.
const VISIBILITY_TIMEOUT_SECONDS: i32 = 90;

/// The maximum number of messages per receive call (SQS limit).
const MESSAGES_PER_CALL: i32 = 10;

/// The maximum number of receive calls per queue and run. A later run copies what remains.
const MAX_CALLS_PER_QUEUE: usize = 200;

struct Archiver {
    sqs: Sqs,
    queue_urls: Vec<String>,
    archive: Table<1>,
    clock: Clock,
}

/// The copy of a message: item of the table.
#[derive(Serialize)]
struct ArchivedMessage<'a> {
    /// The queue and the message's id.
    id: String,
    body: &'a str,
    archived_at: Timestamp,
    /// In milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<i64>,
}

/// The number of messages that a run has copied, or had copied before.
#[derive(Debug, Default, Serialize)]
struct RunSummary {
    archived: u64,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
enum ArchiveError {
    /// Contains the messages of the SDK error and all its sources.
    #[error("a dead-letter queue cannot be read: {0}")]
    Queue(String),
    #[error("a dead-letter message cannot be stored")]
    Table(#[from] DynamoDbError),
}

/// Initialises the function for the queues `DEAD_LETTER_QUEUE_URLS`, separated by commas, and the table
/// `DEAD_LETTERS_TABLE`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let queue_urls: String = context.environment.required("DEAD_LETTER_QUEUE_URLS")?;
    let archive_table: String = context.environment.required("DEAD_LETTERS_TABLE")?;
    let archiver = Arc::new(Archiver {
        sqs: Sqs::new(&context.aws),
        queue_urls: queue_urls.split(',').map(str::to_owned).collect(),
        archive: Table::new(DynamoDb::new(&context.aws), archive_table, ["id"]),
        clock: context.clock,
    });
    Ok(Handler::new(move |_: Invocation| {
        let archiver = Arc::clone(&archiver);
        async move { archiver.run().await }
    }))
}

impl Archiver {
    async fn run(&self) -> Result<RunSummary, ArchiveError> {
        let mut summary = RunSummary::default();
        for queue_url in &self.queue_urls {
            let mut received = Vec::new();
            let archived = self.archive_queue(queue_url, &mut received, &mut summary).await;
            // Also after a failure, so that an operator finds the messages.
            self.make_visible(queue_url, received).await?;
            archived?;
        }
        tracing::info!(archived = summary.archived, "dead-letter messages were copied");
        Ok(summary)
    }

    /// Copies the messages of a queue, and adds their receipt handles to `received`.
    async fn archive_queue(
        &self,
        queue_url: &str,
        received: &mut Vec<String>,
        summary: &mut RunSummary,
    ) -> Result<(), ArchiveError> {
        let queue_name = queue_url.rsplit('/').next().unwrap_or(queue_url);
        for _ in 0..MAX_CALLS_PER_QUEUE {
            let response = self
                .sqs
                .receive_message()
                .queue_url(queue_url)
                .max_number_of_messages(MESSAGES_PER_CALL)
                .visibility_timeout(VISIBILITY_TIMEOUT_SECONDS)
                // Long polling queries all servers of the queue instead of a sample of them.
                .wait_time_seconds(1)
                .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
                .send()
                .await
                .map_err(|error| ArchiveError::Queue(DisplayErrorContext(error).to_string()))?;
            // SQS returns no list instead of an empty one.
            let messages = response.messages.unwrap_or_default();
            if messages.is_empty() {
                break;
            }
            received.extend(
                messages
                    .iter()
                    .filter_map(|message| message.receipt_handle.clone()),
            );
            for message in &messages {
                self.archive(queue_name, message, summary).await?;
            }
        }
        Ok(())
    }

    async fn archive(
        &self,
        queue_name: &str,
        message: &Message,
        summary: &mut RunSummary,
    ) -> Result<(), ArchiveError> {
        let (Some(id), Some(body)) = (message.message_id(), message.body()) else {
            return Err(ArchiveError::Queue("a message has no id or no body".to_owned()));
        };
        let is_request = serde_json::from_str::<AccountMailRequest>(body).is_ok()
            || serde_json::from_str::<PhoneCodeRequest>(body).is_ok();
        if is_request {
            return Ok(());
        }
        let sent_at = message
            .attributes()
            .and_then(|attributes| attributes.get(&MessageSystemAttributeName::SentTimestamp));
        let copy = ArchivedMessage {
            id: format!("{queue_name}#{id}"),
            body,
            archived_at: self.clock.now(),
            sent_at: sent_at.and_then(|sent_at| sent_at.parse().ok()),
        };
        self.archive.put(&copy).await?;
        summary.archived += 1;
        Ok(())
    }

    /// Makes the received messages visible to operators again.
    async fn make_visible(&self, queue_url: &str, received: Vec<String>) -> Result<(), ArchiveError> {
        let queue_error = |error: BuildError| ArchiveError::Queue(DisplayErrorContext(error).to_string());
        for receipt_handles in received.chunks(10) {
            let entries: Result<Vec<_>, BuildError> = receipt_handles
                .iter()
                .enumerate()
                .map(|(number, receipt_handle)| {
                    ChangeMessageVisibilityBatchRequestEntry::builder()
                        .id(number.to_string())
                        .receipt_handle(receipt_handle)
                        .visibility_timeout(0)
                        .build()
                })
                .collect();
            self.sqs
                .change_message_visibility_batch()
                .queue_url(queue_url)
                .set_entries(Some(entries.map_err(queue_error)?))
                .send()
                .await
                .map_err(|error| ArchiveError::Queue(DisplayErrorContext(error).to_string()))?;
        }
        Ok(())
    }
}

impl FunctionError for ArchiveError {
    fn name(&self) -> &'static str {
        "Unavailable"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}
