//! A batch of SQS messages in which each fails or succeeds for itself.
//!
//! Lambda takes the messages off the queue that the answer's `batchItemFailures` does not name. The batch as
//! a whole never fails once it is one: not by a message that cannot be read, not by a panic, not by running
//! out of time. What fails comes back after the visibility time-out, and ends in the dead-letter queue when it
//! has failed as often as the queue allows. The event source mapping has to ask for it, with
//! `FunctionResponseTypes: [ReportBatchItemFailures]`.
//!
//! For standard queues: the messages of one batch are worked on side by side, in no order.

use std::{future::Future, sync::Arc, time::Duration};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use domain::{Clock, Timestamp};
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, field::Empty, info_span};

use crate::{FunctionError, Handler, Invocation, catch_panic::catch_panic, error::error_chain};

/// So long before its deadline an invocation gives up the messages that are not done, so that the answer
/// still arrives and the others count as done.
const RESPONSE_MARGIN: Duration = Duration::from_millis(500);

/// A message of a batch.
#[derive(Clone, Debug)]
pub struct Message {
    /// What was sent.
    pub body: String,
    /// When Lambda ends the process. The work on the message is dropped a moment before.
    pub deadline: Timestamp,
}

/// The function was invoked with something else than a batch, by hand perhaps.
#[derive(Debug, thiserror::Error)]
#[error("this function takes an SQS event: {{\"Records\":[{{\"messageId\":…,\"body\":…}}]}}")]
struct InvalidBatch(#[source] serde_json::Error);

/// Why a message failed, where its handler did not say.
#[derive(Debug, thiserror::Error)]
enum MessageError {
    #[error("the message has no body")]
    MissingBody,
    #[error("the message was not done in time")]
    TimedOut,
}

/// A function that does `work` with each message of a batch, with at most `concurrency` at once.
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
/// let answer = function.call(Invocation { payload, deadline: Timestamp::MAX_UTC }).await;
/// assert_eq!(answer, Ok(serde_json::json!({"batchItemFailures": [{"itemIdentifier": "2"}]})));
/// # }
/// ```
pub fn handler<F, Fut, E>(clock: Clock, concurrency: usize, work: F) -> Handler
where
    F: Fn(Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let work = Arc::new(work);
    Handler::new(move |Invocation { payload, deadline }| {
        let work = Arc::clone(&work);
        let left = (deadline - clock.now())
            .to_std()
            .unwrap_or_default()
            .saturating_sub(RESPONSE_MARGIN);
        let until = Instant::now() + left;
        async move {
            let batch: SqsEvent = serde_json::from_value(payload).map_err(InvalidBatch)?;
            let failed = stream::iter(batch.records)
                .map(|record| process_message(record, deadline, until, &*work))
                .buffer_unordered(concurrency)
                .filter_map(async |failed| failed);
            let mut answer = SqsBatchResponse::default();
            answer.set_failures(failed.collect::<Vec<String>>().await);
            Ok::<_, InvalidBatch>(answer)
        }
    })
}

/// Works on one message, and tells its id when that failed. A message without an id, which no queue sends, has
/// the empty one, and Lambda takes that for the failure of the whole batch.
async fn process_message<Fut, E>(
    record: SqsMessage,
    deadline: Timestamp,
    until: Instant,
    work: &(impl Fn(Message) -> Fut + Sync),
) -> Option<String>
where
    Fut: Future<Output = Result<(), E>> + Send,
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
    let outcome = async {
        let reason = match record.body {
            None => error_chain(&MessageError::MissingBody),
            Some(body) => {
                let working = catch_panic(async { work(Message { body, deadline }).await });
                match timeout_at(until, working).await {
                    Ok(Ok(Ok(()))) => return Ok(()),
                    Ok(Ok(Err(error))) => error_chain(&error),
                    Ok(Err(panicked)) => error_chain(&panicked),
                    Err(_) => error_chain(&MessageError::TimedOut),
                }
            }
        };
        tracing::error!(reason, "a message failed and stays in its queue");
        Err(())
    };
    outcome.instrument(span).await.err().map(|()| id)
}

impl FunctionError for InvalidBatch {
    fn name(&self) -> &'static str {
        "InvalidInput"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}
