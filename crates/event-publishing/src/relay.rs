//! Outbox relay: publishes events right after their commit, and sweeps the outbox for events that remain in
//! it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{Clock, EventId};
use events::OutboxEvent;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    Delivery, FailedEvent, Outbox, OutboxError, ParkingQueue, Publisher,
    outbox::{OutboxEntry, RetryDecision, backoff, retry_decision},
};

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Interval of the backlog metrics. In DynamoDB, measuring scans the whole outbox.
const MEASURE_INTERVAL: Duration = Duration::from_secs(15);

/// Maximum entries per sweep.
const SWEEP_BATCH_SIZE: u32 = 500;

/// Capacity of the channel of committed events. When it is full, new events are left to the sweep.
const COMMITTED_CHANNEL_CAPACITY: usize = 1024;

/// Maximum commits whose events are published together.
const MAX_COMMITS_PER_PUBLISH: usize = 64;

/// Publishes the events of an outbox.
pub struct Relay {
    inner: Inner,
    committed: mpsc::Receiver<Vec<OutboxEvent>>,
}

struct Inner {
    outbox: Arc<dyn Outbox>,
    publisher: Publisher,
    parking_queue: ParkingQueue,
    clock: Clock,
}

/// Notifies the relay of committed events. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RelayHandle(mpsc::Sender<Vec<OutboxEvent>>);

impl RelayHandle {
    /// Asks the relay to publish events that were just committed to the outbox. Never waits: if the channel
    /// is full, the sweep publishes the events some seconds later.
    pub fn notify_committed(&self, events: Vec<OutboxEvent>) {
        // If the channel is full or closed, the events are still safe in the outbox.
        let _ = self.0.try_send(events);
    }
}

impl Relay {
    /// Returns the relay of `outbox`, and the handle for code that commits events to it. Events that cannot
    /// be published are sent to `parking_queue`.
    pub fn new(
        outbox: impl Outbox + 'static,
        publisher: Publisher,
        parking_queue: ParkingQueue,
        clock: Clock,
    ) -> (Self, RelayHandle) {
        describe_metrics();
        let (sender, committed) = mpsc::channel(COMMITTED_CHANNEL_CAPACITY);
        (
            Self {
                inner: Inner {
                    outbox: Arc::new(outbox),
                    publisher,
                    parking_queue,
                    clock,
                },
                committed,
            },
            RelayHandle(sender),
        )
    }

    /// Runs until `stop` is cancelled, then publishes the events still in the channel.
    ///
    /// Publishing, sweeping and measuring do not wait for each other: while a PutEvents call hangs, the sweep
    /// publishes the events that wait behind it.
    pub async fn run(self, stop: CancellationToken) {
        let Self { inner, committed } = self;
        tokio::join!(
            inner.publish_until_stopped(committed, &stop),
            inner.sweep_until_stopped(&stop),
            inner.measure_until_stopped(&stop),
        );
    }
}

impl Inner {
    async fn publish_until_stopped(
        &self,
        mut committed: mpsc::Receiver<Vec<OutboxEvent>>,
        stop: &CancellationToken,
    ) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                received = committed.recv_many(&mut batch, MAX_COMMITS_PER_PUBLISH) => {
                    if received == 0 {
                        return;
                    }
                    self.publish_committed(std::mem::take(&mut batch)).await;
                }
            }
        }
        committed.close();
        while committed.recv_many(&mut batch, MAX_COMMITS_PER_PUBLISH).await > 0 {
            self.publish_committed(std::mem::take(&mut batch)).await;
        }
    }

    async fn sweep_until_stopped(&self, stop: &CancellationToken) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut available = true;
        while let Some(_tick) = stop.run_until_cancelled(interval.tick()).await {
            log_availability_change(&mut available, self.sweep().await);
        }
    }

    async fn measure_until_stopped(&self, stop: &CancellationToken) {
        let mut interval = tokio::time::interval(MEASURE_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(_tick) = stop.run_until_cancelled(interval.tick()).await {
            // If the outbox cannot be measured, it cannot be swept either, and the failed sweep is logged.
            drop(self.record_backlog_metrics().await);
        }
    }

    /// Publishes events right after their commit. Failed events stay in the outbox for the sweep.
    async fn publish_committed(&self, batch: Vec<Vec<OutboxEvent>>) {
        let events: Vec<OutboxEvent> = batch.into_iter().flatten().collect();
        let delivery = self.publish_and_count(&events).await;
        if let Err(error) = self.outbox.remove(&delivery.sent).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "published events could not be removed from the outbox"
            );
        }
        if let Some(first) = delivery.failed.first() {
            let (failed, reason) = (delivery.failed.len(), &first.reason);
            tracing::warn!(failed, reason, "publishing failed; the events stay in the outbox");
        }
    }

    async fn publish_and_count(&self, events: &[OutboxEvent]) -> Delivery {
        let delivery = self.publisher.publish(events).await;
        let store = self.outbox.store();
        counter!("outbox_events_published_total", "store" => store).increment(delivery.sent.len() as u64);
        counter!("outbox_publish_failures_total", "store" => store).increment(delivery.failed.len() as u64);
        delivery
    }

    /// Publishes the due entries. A failed entry is retried with backoff and finally parked.
    async fn sweep(&self) -> Result<(), OutboxError> {
        let due = self.outbox.fetch_due(self.clock.now(), SWEEP_BATCH_SIZE).await?;
        if due.is_empty() {
            return Ok(());
        }
        let events: Vec<OutboxEvent> = due.iter().map(|entry| entry.event.clone()).collect();
        let delivery = self.publish_and_count(&events).await;
        self.outbox.remove(&delivery.sent).await?;
        tracing::info!(
            sent = delivery.sent.len(),
            failed = delivery.failed.len(),
            "swept overdue outbox entries"
        );

        let mut entries: HashMap<EventId, OutboxEntry> = due
            .into_iter()
            .map(|entry| (entry.event.event_id, entry))
            .collect();
        for failure in delivery.failed {
            if let Some(entry) = entries.remove(&failure.event_id) {
                self.reschedule_or_park(entry, &failure).await?;
            }
        }
        Ok(())
    }

    /// Schedules the next attempt of a failed entry, or parks it. A parked entry is removed from the outbox
    /// only after the parking queue has accepted it.
    async fn reschedule_or_park(
        &self,
        mut entry: OutboxEntry,
        failure: &FailedEvent,
    ) -> Result<(), OutboxError> {
        entry.attempts += 1;
        let (now, event) = (self.clock.now(), &entry.event);
        let at = match retry_decision(entry.attempts, failure.permanent, now) {
            RetryDecision::RetryAt(at) => at,
            RetryDecision::Park => {
                let parked = self
                    .parking_queue
                    .park(self.publisher.bus(), event, &failure.reason)
                    .await;
                let event_id = tracing::field::display(event.event_id);
                let (detail_type, reason) = (&event.detail_type, &failure.reason);
                match parked {
                    Ok(()) => {
                        tracing::error!(
                            event_id,
                            detail_type,
                            reason,
                            "event could not be published and was parked"
                        );
                        counter!("outbox_events_parked_total", "store" => self.outbox.store()).increment(1);
                        return self.outbox.remove(&[event.event_id]).await;
                    }
                    Err(error) => tracing::error!(
                        event_id,
                        detail_type,
                        reason,
                        error = &error as &dyn std::error::Error,
                        "event could be neither published nor parked; it stays in the outbox"
                    ),
                }
                now + backoff(entry.attempts)
            }
        };
        self.outbox.retry_at(&entry, at).await
    }

    async fn record_backlog_metrics(&self) -> Result<(), OutboxError> {
        let backlog = self.outbox.backlog().await?;
        let now = self.clock.now();
        let age = backlog
            .oldest
            .map_or(0, |oldest| (now - oldest).num_milliseconds());
        let store = self.outbox.store();
        #[expect(
            clippy::cast_precision_loss,
            reason = "gauges are floats, and these values are far below 2^53"
        )]
        let (entries, seconds) = (backlog.entries as f64, age.max(0) as f64 / 1000.0);
        gauge!("outbox_entries", "store" => store).set(entries);
        gauge!("outbox_oldest_entry_age_seconds", "store" => store).set(seconds);
        Ok(())
    }
}

fn describe_metrics() {
    describe_gauge!(
        "outbox_entries",
        "Events in the outbox that are not published yet."
    );
    describe_gauge!(
        "outbox_oldest_entry_age_seconds",
        "Age of the oldest event in the outbox."
    );
    describe_counter!(
        "outbox_events_published_total",
        "Events that EventBridge accepted."
    );
    describe_counter!(
        "outbox_publish_failures_total",
        "Failed attempts to publish an event."
    );
    describe_counter!(
        "outbox_events_parked_total",
        "Events that could not be published and were sent to the parking queue."
    );
}

/// Logs only changes: the first failed sweep, and the first successful one after it.
fn log_availability_change(available: &mut bool, swept: Result<(), OutboxError>) {
    match swept {
        Ok(()) if !*available => tracing::info!("outbox available again"),
        Err(error) if *available => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "outbox could not be swept"
            );
        }
        _ => return,
    }
    *available = !*available;
}
