//! Waiting until nothing moves any more.

use std::{fmt, time::Duration};

use aws_sdk_sfn::types::ExecutionStatus;
use aws_sdk_sqs::types::QueueAttributeName;
use orders::Order;
use tokio::time::Instant;

use super::{Books, Purpose, ReadError, Reader, read::aws};

/// How long it must have been still to count as settled: longer than an event is between two queues.
const STILL: Duration = Duration::from_secs(4);

/// How often it is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// What still moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Motion {
    /// Messages in work queues, and those that somebody works on.
    pub messages: usize,
    /// Runs of the saga under way.
    pub executions: usize,
    /// Events in outboxes.
    pub events: usize,
    /// Orders that have not ended and are not parked. Looked at only when all else is still.
    pub orders: usize,
}

impl fmt::Display for Motion {
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

impl Reader {
    /// Waits until nothing moves, for as long as `patience`; `tell` hears of every look. Returns what still moves
    /// then, which is nothing when all went well.
    ///
    /// # Errors
    /// When the system cannot be looked at at the end of the patience; before, another look is taken.
    pub async fn settled(
        &self,
        patience: Duration,
        mut tell: impl FnMut(&Motion),
    ) -> Result<Motion, ReadError> {
        let deadline = Instant::now() + patience;
        let mut still_since = None;
        loop {
            let motion = self.motion().await;
            if let Ok(motion) = &motion {
                tell(motion);
            }
            if motion.as_ref().is_ok_and(|motion| *motion == Motion::default()) {
                if still_since.get_or_insert_with(Instant::now).elapsed() >= STILL {
                    return motion;
                }
            } else {
                still_since = None;
            }
            if Instant::now() > deadline {
                return motion;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn motion(&self) -> Result<Motion, ReadError> {
        let mut motion = Motion {
            messages: self.work_left().await?,
            executions: self.executions(Some(ExecutionStatus::Running)).await?.len(),
            events: self.outbox_length().await?,
            orders: 0,
        };
        if motion == Motion::default() {
            motion.orders = self.open_orders().await?;
        }
        Ok(motion)
    }

    /// Messages in work queues, with those in flight.
    async fn work_left(&self) -> Result<usize, ReadError> {
        let mut left = 0;
        let urls = self.sqs.list_queues().send().await.map_err(aws)?.queue_urls;
        for url in urls.unwrap_or_default() {
            if Purpose::of(url.rsplit('/').next().unwrap_or_default()) != Purpose::Work {
                continue;
            }
            let request = self.sqs.get_queue_attributes().queue_url(url);
            let answer = request
                .attribute_names(QueueAttributeName::All)
                .send()
                .await
                .map_err(aws)?;
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

    async fn open_orders(&self) -> Result<usize, ReadError> {
        let orders = self.orders().await?.into_iter();
        let open: Vec<Order> = orders.filter(|order| !order.status.is_final()).collect();
        if open.is_empty() {
            return Ok(0);
        }
        let books = Books {
            orders: open,
            queues: self.queues().await?,
            ..Books::default()
        };
        Ok(books.orders.len() - books.parked().len())
    }
}
