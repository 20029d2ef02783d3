//! Handles batches of SQS messages with partial batch responses.
//!
//! Lambda deletes the messages that `batchItemFailures` in the response does not list. A valid batch never
//! fails as a whole: an unreadable message, a panic and a timeout each fail only their own message. A failed
//! message becomes visible again after the visibility timeout and moves to the dead-letter queue after the
//! queue's maximum receive count. The event source mapping must set `FunctionResponseTypes:
//! [ReportBatchItemFailures]`.
//!
//! Use it for standard queues only: the messages of a batch are processed concurrently, in no order.

use std::{future::Future, sync::Arc, time::Duration};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use domain::{Clock, Timestamp};
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, field::Empty, info_span};

use crate::{FunctionError, Handler, Invocation, catch_panic::catch_panic, error::error_chain};

/// How long before the invocation's deadline the unfinished messages are abandoned, so that the response
/// still reaches Lambda and the finished messages are deleted.
const RESPONSE_MARGIN: Duration = Duration::from_millis(500);

/// One message of a batch.
#[derive(Clone, Debug)]
pub struct Message {
    /// The message body.
    pub body: String,
    /// When the invocation times out. The processing of the message is cancelled shortly before.
    pub deadline: Timestamp,
    /// Identifies this delivery in calls to SQS. SQS always sends it; a manual invocation may not.
    pub receipt_handle: Option<String>,
    /// How often SQS has delivered the message, this time included.
    pub receive_count: u32,
}

/// What becomes of a message that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Lambda deletes the message.
    Processed,
    /// The message remains in the queue, because its time has not come. SQS counts the delivery.
    Deferred,
}

impl From<()> for Disposition {
    fn from((): ()) -> Self {
        Self::Processed
    }
}

/// The payload is not an SQS event, for example in a manual invocation.
#[derive(Debug, thiserror::Error)]
#[error("this function expects an SQS event: {{\"Records\":[{{\"messageId\":…,\"body\":…}}]}}")]
struct InvalidBatch(#[source] serde_json::Error);

/// Why a message failed outside of its handler.
#[derive(Debug, thiserror::Error)]
enum MessageError {
    #[error("the message has no body")]
    MissingBody,
    #[error("the message was not processed before the deadline")]
    TimedOut,
}

/// A function that runs `work` for each message of a batch, at most `concurrency` at a time. `work` returns
/// `()` or a [`Disposition`].
///
/// ```
/// # use std::convert::Infallible;
/// # use domain::{Clock, Timestamp};
/// # use lambda_shared::{Invocation, sqs};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let function = sqs::handler(Clock::system(), 10, async |message| match message.body.as_str() {
///     "poison" => Err(std::fmt::Error),
///     _ => Ok(()),
/// });
/// let payload = serde_json::json!({"Records": [
///     {"messageId": "1", "body": "tea"}, {"messageId": "2", "body": "poison"},
/// ]});
/// let response = function.call(Invocation { payload, deadline: Timestamp::MAX_UTC }).await;
/// assert_eq!(response, Ok(serde_json::json!({"batchItemFailures": [{"itemIdentifier": "2"}]})));
/// # }
/// ```
pub fn handler<F, Fut, T, E>(clock: Clock, concurrency: usize, work: F) -> Handler
where
    F: Fn(Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Disposition> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let work = Arc::new(work);
    Handler::new(move |Invocation { payload, deadline }| {
        let work = Arc::clone(&work);
        // A deadline in the past leaves no time: every message fails and is delivered again.
        let remaining = (deadline - clock.now())
            .to_std()
            .unwrap_or_default()
            .saturating_sub(RESPONSE_MARGIN);
        let cutoff = Instant::now() + remaining;
        async move {
            let batch: SqsEvent = serde_json::from_value(payload).map_err(InvalidBatch)?;
            let remaining_ids = stream::iter(batch.records)
                .map(|record| process_message(record, deadline, cutoff, &*work))
                .buffer_unordered(concurrency)
                .filter_map(async |remaining_id| remaining_id);
            let mut response = SqsBatchResponse::default();
            response.set_failures(remaining_ids.collect::<Vec<String>>().await);
            Ok::<_, InvalidBatch>(response)
        }
    })
}

/// Processes one message and returns its id when it failed or was deferred. A message without an id (SQS
/// always sends one) gets the empty id, which makes Lambda retry the whole batch.
async fn process_message<Fut, T, E>(
    record: SqsMessage,
    deadline: Timestamp,
    cutoff: Instant,
    work: &(impl Fn(Message) -> Fut + Sync),
) -> Option<String>
where
    Fut: Future<Output = Result<T, E>> + Send,
    T: Into<Disposition> + Send,
    E: std::error::Error + Send,
{
    let id = record.message_id.unwrap_or_default();
    let span = info_span!(
        "message",
        message_id = id,
        trace_id = Empty,
        correlation_id = Empty,
        causation_id = Empty
    );
    let remains_in_queue = async {
        let receive_count = record.attributes.get("ApproximateReceiveCount");
        let reason = match record.body {
            None => error_chain(&MessageError::MissingBody),
            Some(body) => {
                let message = Message {
                    body,
                    deadline,
                    receipt_handle: record.receipt_handle,
                    // SQS always sends the count. A manual invocation counts as the first delivery.
                    receive_count: receive_count.and_then(|count| count.parse().ok()).unwrap_or(1),
                };
                let processing = catch_panic(async { work(message).await });
                match timeout_at(cutoff, processing).await {
                    Ok(Ok(Ok(disposition))) => return disposition.into() == Disposition::Deferred,
                    Ok(Ok(Err(error))) => error_chain(&error),
                    Ok(Err(panic)) => error_chain(&panic),
                    Err(_) => error_chain(&MessageError::TimedOut),
                }
            }
        };
        tracing::error!(reason, "the message failed and remains in the queue");
        true
    };
    remains_in_queue.instrument(span).await.then_some(id)
}

impl FunctionError for InvalidBatch {
    fn name(&self) -> &'static str {
        "InvalidInput"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}
