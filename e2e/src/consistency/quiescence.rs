//! Quiescence: waiting until the system has no work left, and collecting a snapshot that may be judged.
//!
//! A snapshot is not taken at one moment: the collector reads queues, tables, payments and mails one after
//! another. An order that ends between two of these reads looks inconsistent although nothing is lost.
//! Therefore a snapshot is judged only when its reading began after the system was quiescent.

use std::{fmt, time::Duration};

use aws_sdk_sfn::types::ExecutionStatus;
use aws_sdk_sqs::types::QueueAttributeName;
use tokio::time::Instant;

use super::{
    CollectError, Collector, QueuePurpose, SystemSnapshot,
    collector::{aws_error, invalid_data, queue_name},
};

/// How long the system must have no pending work: longer than the bus takes to deliver an event.
const QUIET_PERIOD: Duration = Duration::from_secs(4);

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How many consecutive quiescent readings must have the same fingerprint before a judged reading starts.
const QUIESCENT_READINGS: u32 = 2;

/// Decides which of several readings may be judged: one that began after [`QUIESCENT_READINGS`] consecutive
/// quiescent readings with the same fingerprint, and that has this fingerprint itself.
#[derive(Clone, Debug, Default)]
pub struct StabilityTracker {
    fingerprint: Option<u64>,
    readings: u32,
}

impl StabilityTracker {
    /// Records a reading. Returns whether this reading may be judged.
    pub fn observe(&mut self, is_quiescent: bool, fingerprint: u64) -> bool {
        if !is_quiescent {
            *self = Self::default();
            return false;
        }
        if self.fingerprint != Some(fingerprint) {
            *self = Self {
                fingerprint: Some(fingerprint),
                readings: 0,
            };
        }
        self.readings += 1;
        self.readings > QUIESCENT_READINGS
    }
}

/// Work that the system has not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingWork {
    /// Messages in work queues, including messages in flight.
    pub messages: usize,
    /// Running executions of the saga.
    pub executions: usize,
    /// Events in outboxes.
    pub events: usize,
    /// Orders that are neither final nor parked. One that waits for its customer is among them: it ends by
    /// itself when the time for that has passed. Counted only when the other counts are zero.
    pub orders: usize,
}

impl PendingWork {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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
            "{messages} messages, {executions} executions, {events} outbox events, {orders} orders pending"
        )
    }
}

/// A snapshot, and whether it may be judged.
#[derive(Clone, Debug)]
pub struct QuiescentSnapshot {
    pub snapshot: SystemSnapshot,
    /// Why the system was not quiescent within the timeout; `None` when it was.
    pub not_quiescent: Option<String>,
}

impl Collector {
    /// Waits until the system has no pending work for [`QUIET_PERIOD`], at most for `timeout`. Calls
    /// `progress` after each poll. Returns the pending work, which is empty unless the timeout has passed.
    ///
    /// # Errors
    /// When the last poll before the timeout fails. Earlier failures are retried.
    pub async fn await_quiescence(
        &self,
        timeout: Duration,
        mut progress: impl FnMut(&PendingWork),
    ) -> Result<PendingWork, CollectError> {
        let deadline = Instant::now() + timeout;
        let mut quiet_since = None;
        loop {
            let pending = self.pending_work().await;
            if let Ok(pending) = &pending {
                progress(pending);
            }
            if pending.as_ref().is_ok_and(PendingWork::is_empty) {
                if quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET_PERIOD {
                    return pending;
                }
            } else {
                quiet_since = None;
            }
            if Instant::now() > deadline {
                return pending;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits for quiescence and collects a snapshot whose reading began afterwards. When the timeout passes
    /// first, returns the last snapshot with the reason.
    ///
    /// # Errors
    /// When a store cannot be read.
    pub async fn collect_when_quiescent(
        &self,
        timeout: Duration,
        mut progress: impl FnMut(&PendingWork),
    ) -> Result<QuiescentSnapshot, CollectError> {
        let deadline = Instant::now() + timeout;
        let mut tracker = StabilityTracker::default();
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let pending_before = self.await_quiescence(remaining, &mut progress).await?;
            let snapshot = self.collect().await?;
            let pending_after = self.pending_work().await?;
            let is_quiescent = pending_before.is_empty() && pending_after.is_empty();
            if tracker.observe(is_quiescent, snapshot.fingerprint()) {
                return Ok(QuiescentSnapshot {
                    snapshot,
                    not_quiescent: None,
                });
            }
            if Instant::now() > deadline {
                let reason = if is_quiescent {
                    "the state changed between readings".to_owned()
                } else if pending_before.is_empty() {
                    pending_after.to_string()
                } else {
                    pending_before.to_string()
                };
                return Ok(QuiescentSnapshot {
                    snapshot,
                    not_quiescent: Some(reason),
                });
            }
        }
    }

    async fn pending_work(&self) -> Result<PendingWork, CollectError> {
        let mut pending = PendingWork {
            messages: self.pending_message_count().await?,
            executions: self.executions(Some(ExecutionStatus::Running)).await?.len(),
            events: self.outbox_entry_count().await?,
            orders: 0,
        };
        if pending.is_empty() {
            pending.orders = self.open_order_count().await?;
        }
        Ok(pending)
    }

    /// Counts the messages in work queues, including messages in flight.
    async fn pending_message_count(&self) -> Result<usize, CollectError> {
        let mut count = 0;
        // SQS returns the token of the next page only to requests with a maximum.
        let queues = self.sqs.list_queues().max_results(1000).into_paginator();
        let urls: Vec<String> = queues.items().send().try_collect().await.map_err(aws_error)?;
        for url in urls {
            if QueuePurpose::from_queue_name(queue_name(&url)) != QueuePurpose::Work {
                continue;
            }
            let response = self
                .sqs
                .get_queue_attributes()
                .queue_url(url)
                .attribute_names(QueueAttributeName::All)
                .send()
                .await
                .map_err(aws_error)?;
            let attributes = response.attributes.unwrap_or_default();
            for name in [
                QueueAttributeName::ApproximateNumberOfMessages,
                QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            ] {
                // A missing attribute must not count as zero: the queue would look empty.
                let number = attributes.get(&name).ok_or_else(|| {
                    CollectError::Aws(format!("GetQueueAttributes returned no {}", name.as_str()))
                })?;
                count += number
                    .parse::<usize>()
                    .map_err(|error| invalid_data("a queue attribute", error))?;
            }
        }
        Ok(count)
    }

    async fn open_order_count(&self) -> Result<usize, CollectError> {
        let open = self.open_orders().await?;
        if open.is_empty() {
            return Ok(0);
        }
        let snapshot = SystemSnapshot {
            orders: open,
            queues: self.queue_messages().await?,
            ..SystemSnapshot::default()
        };
        Ok(snapshot.orders.len() - snapshot.parked_orders().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_the_reading_after_two_equal_quiescent_readings() {
        let mut tracker = StabilityTracker::default();
        assert!(!tracker.observe(true, 1));
        assert!(!tracker.observe(true, 1));
        assert!(tracker.observe(true, 1));
    }

    #[test]
    fn restarts_when_the_fingerprint_changes() {
        let mut tracker = StabilityTracker::default();
        assert!(!tracker.observe(true, 1));
        assert!(!tracker.observe(true, 1));
        assert!(!tracker.observe(true, 2), "an order ended during this reading");
        assert!(!tracker.observe(true, 2));
        assert!(tracker.observe(true, 2));
    }

    #[test]
    fn restarts_when_a_reading_is_not_quiescent() {
        let mut tracker = StabilityTracker::default();
        assert!(!tracker.observe(true, 1));
        assert!(!tracker.observe(true, 1));
        assert!(!tracker.observe(false, 1));
        assert!(!tracker.observe(true, 1));
        assert!(!tracker.observe(true, 1));
        assert!(tracker.observe(true, 1));
    }
}
