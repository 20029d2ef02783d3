//! The relay: publishes what is handed to it right after a commit, and sweeps what nobody handed over.

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

/// How often the outbox is swept.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is measured what waits. In DynamoDB that reads the whole outbox.
const MEASURE_INTERVAL: Duration = Duration::from_secs(15);

/// How many entries one sweep takes.
const SWEEP_BATCH_SIZE: u32 = 500;

/// How many commits may wait to be published before new ones are left to the sweep.
const COMMITTED_CHANNEL_CAPACITY: usize = 1024;

/// How many commits are published together.
const MAX_COMMITS_PER_PUBLISH: usize = 64;

/// Publishes an outbox's events.
pub struct Relay {
    outbox: Arc<dyn Outbox>,
    publisher: Publisher,
    parking_queue: ParkingQueue,
    clock: Clock,
    committed: mpsc::Receiver<Vec<OutboxEvent>>,
}

/// Through this a commit hands its events over. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RelayHandle(mpsc::Sender<Vec<OutboxEvent>>);

impl RelayHandle {
    /// Has events published that were committed to the outbox a moment ago. Never waits: when too many are
    /// on their way, the sweep finds them in the outbox some seconds later.
    pub fn notify_committed(&self, events: Vec<OutboxEvent>) {
        // Full or stopped: both leave the events where they are safe.
        let _ = self.0.try_send(events);
    }
}

impl Relay {
    /// A relay of `outbox`, and the handle of those who commit to it. What `publisher` never gets rid of goes to
    /// `parking`.
    pub fn new(
        outbox: impl Outbox + 'static,
        publisher: Publisher,
        parking: ParkingQueue,
        clock: Clock,
    ) -> (Self, RelayHandle) {
        describe_metrics();
        let (sender, handed_over) = mpsc::channel(COMMITTED_CHANNEL_CAPACITY);
        (
            Self {
                outbox: Arc::new(outbox),
                publisher,
                parking_queue: parking,
                clock,
                committed: handed_over,
            },
            RelayHandle(sender),
        )
    }

    /// Works until `stop` is cancelled, and then until what has been handed over is published.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut measure = tokio::time::interval(MEASURE_INTERVAL);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut reachable, mut has_senders) = (true, true);
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                received = self.committed.recv_many(&mut batch, MAX_COMMITS_PER_PUBLISH), if has_senders => {
                    has_senders = received > 0;
                    self.publish_committed(batch).await;
                }
                _ = sweep.tick() => {
                    let swept = self.sweep().await;
                    log_availability_change(&mut reachable, swept);
                }
                // When it cannot be measured it cannot be swept either, and that is logged.
                _ = measure.tick() => drop(self.record_backlog_metrics().await),
            }
        }
        self.committed.close();
        let mut rest = Vec::new();
        while self.committed.recv_many(&mut rest, MAX_COMMITS_PER_PUBLISH).await > 0 {
            self.publish_committed(std::mem::take(&mut rest)).await;
        }
    }

    /// Publishes what was handed over. What fails waits in the outbox for the sweep.
    async fn publish_committed(&self, batch: Vec<Vec<OutboxEvent>>) {
        let events: Vec<OutboxEvent> = batch.into_iter().flatten().collect();
        let delivery = self.publish_and_count(&events).await;
        if let Err(error) = self.outbox.remove(&delivery.sent).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "published events stay in the outbox"
            );
        }
        if let Some(first) = delivery.failed.first() {
            let (failed, reason) = (delivery.failed.len(), &first.reason);
            tracing::warn!(
                failed,
                reason,
                "events were not published at once and wait in the outbox"
            );
        }
    }

    async fn publish_and_count(&self, events: &[OutboxEvent]) -> Delivery {
        let delivery = self.publisher.publish(events).await;
        let store = self.outbox.store();
        counter!("outbox_events_published_total", "store" => store).increment(delivery.sent.len() as u64);
        counter!("outbox_publish_failures_total", "store" => store).increment(delivery.failed.len() as u64);
        delivery
    }

    /// Publishes what has waited too long. An entry that fails waits longer each time and is parked in the end.
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
            "swept events that were left behind"
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

    /// Has an entry that failed wait, or parks it. It leaves the outbox only once the queue has it.
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
                            "an event cannot be published and is parked"
                        );
                        counter!("outbox_events_parked_total", "store" => self.outbox.store()).increment(1);
                        return self.outbox.remove(&[event.event_id]).await;
                    }
                    Err(error) => tracing::error!(
                        event_id,
                        detail_type,
                        reason,
                        error = &error as &dyn std::error::Error,
                        "an event can neither be published nor parked and waits in the outbox"
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
            reason = "a gauge is a float, and these are small"
        )]
        let (entries, seconds) = (backlog.entries as f64, age.max(0) as f64 / 1000.0);
        gauge!("outbox_entries", "store" => store).set(entries);
        gauge!("outbox_oldest_entry_age_seconds", "store" => store).set(seconds);
        Ok(())
    }
}

fn describe_metrics() {
    describe_gauge!("outbox_entries", "Events that wait to be published.");
    describe_gauge!(
        "outbox_oldest_entry_age_seconds",
        "Age of the oldest event that waits."
    );
    describe_counter!("outbox_events_published_total", "Events that the bus took.");
    describe_counter!(
        "outbox_publish_failures_total",
        "Attempts at an event that failed."
    );
    describe_counter!(
        "outbox_events_parked_total",
        "Events given up and sent to the parking queue."
    );
}

/// Says once that the outbox cannot be reached, and once that it can be again.
fn log_availability_change(reachable: &mut bool, swept: Result<(), OutboxError>) {
    match swept {
        Ok(()) if !*reachable => tracing::info!("the outbox is within reach again"),
        Err(error) if *reachable => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the outbox cannot be swept"
            );
        }
        _ => return,
    }
    *reachable = !*reachable;
}
