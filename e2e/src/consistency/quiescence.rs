//! Waiting until nothing moves any more.

use std::{fmt, time::Duration};

use aws_sdk_sfn::types::ExecutionStatus;
use aws_sdk_sqs::types::QueueAttributeName;
use orders::Order;
use tokio::time::Instant;

use super::{CollectError, Collector, QueuePurpose, SystemSnapshot, collector::aws_error};

/// How long it must have been still to count as settled: longer than an event is between two queues.
const QUIET_PERIOD: Duration = Duration::from_secs(4);

/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What still moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingWork {
    /// Messages in work queues, and those that somebody works on.
    pub messages: usize,
    /// Runs of the saga under way.
    pub executions: usize,
    /// Events in outboxes.
    pub events: usize,
    /// Orders that have not ended and are not parked. Looked at only when all else is still.
    pub orders: usize,
}

impl fmt::Display for PendingWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages,
            executions,
            events,
            orders,
        } = self;
        write!(
            f,
            "{messages} messages, {executions} sagas, {events} events, {orders} orders under way"
        )
    }
}

impl Collector {
    /// Waits until nothing moves, for as long as `patience`; `tell` hears of every look. Returns what still moves
    /// then, which is nothing when all went well.
    ///
    /// # Errors
    /// When the system cannot be looked at at the end of the patience; before, another look is taken.
    pub async fn await_quiescence(
        &self,
        patience: Duration,
        mut tell: impl FnMut(&PendingWork),
    ) -> Result<PendingWork, CollectError> {
        let deadline = Instant::now() + patience;
        let mut still_since = None;
        loop {
            let motion = self.pending_work().await;
            if let Ok(motion) = &motion {
                tell(motion);
            }
            if motion
                .as_ref()
                .is_ok_and(|motion| *motion == PendingWork::default())
            {
                if still_since.get_or_insert_with(Instant::now).elapsed() >= QUIET_PERIOD {
                    return motion;
                }
            } else {
                still_since = None;
            }
            if Instant::now() > deadline {
                return motion;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn pending_work(&self) -> Result<PendingWork, CollectError> {
        let mut motion = PendingWork {
            messages: self.pending_message_count().await?,
            executions: self.executions(Some(ExecutionStatus::Running)).await?.len(),
            events: self.outbox_entry_count().await?,
            orders: 0,
        };
        if motion == PendingWork::default() {
            motion.orders = self.open_order_count().await?;
        }
        Ok(motion)
    }

    /// Messages in work queues, with those in flight.
    async fn pending_message_count(&self) -> Result<usize, CollectError> {
        let mut left = 0;
        let urls = self.sqs.list_queues().send().await.map_err(aws_error)?.queue_urls;
        for url in urls.unwrap_or_default() {
            if QueuePurpose::from_queue_name(url.rsplit('/').next().unwrap_or_default()) != QueuePurpose::Work
            {
                continue;
            }
            let request = self.sqs.get_queue_attributes().queue_url(url);
            let answer = request
                .attribute_names(QueueAttributeName::All)
                .send()
                .await
                .map_err(aws_error)?;
            let attributes = answer.attributes.unwrap_or_default();
            let number = |name| {
                attributes
                    .get(&name)
                    .and_then(|number| number.parse().ok())
                    .unwrap_or(0)
            };
            left += number(QueueAttributeName::ApproximateNumberOfMessages)
                + number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
        }
        Ok(left)
    }

    async fn open_order_count(&self) -> Result<usize, CollectError> {
        let orders = self.orders().await?.into_iter();
        let open: Vec<Order> = orders.filter(|order| !order.status.is_final()).collect();
        if open.is_empty() {
            return Ok(0);
        }
        let books = SystemSnapshot {
            orders: open,
            queues: self.queue_messages().await?,
            ..SystemSnapshot::default()
        };
        Ok(books.orders.len() - books.parked_orders().len())
    }
}
