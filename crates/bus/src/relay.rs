//! The relay: publishes what is handed to it right after a commit, and sweeps what nobody handed over.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{Clock, EventId};
use events::Outgoing;
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    Outbox, OutboxError, Publisher,
    outbox::{Entry, Verdict, verdict},
};

/// How often the outbox is swept.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many entries one sweep takes.
const SWEEP_LIMIT: u32 = 500;

/// How many commits may wait to be published before new ones are left to the sweep.
const HAND_OVER_CAPACITY: usize = 1024;

/// How many commits are published together.
const HAND_OVERS_AT_ONCE: usize = 64;

/// Publishes an outbox's events.
pub struct Relay {
    outbox: Arc<dyn Outbox>,
    publisher: Publisher,
    clock: Clock,
    handed_over: mpsc::Receiver<Vec<Outgoing>>,
}

/// Through this a commit hands its events over. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RelayHandle(mpsc::Sender<Vec<Outgoing>>);

impl RelayHandle {
    /// Has events published that were committed to the outbox a moment ago. Never waits: when too many are
    /// on their way, the sweep finds them in the outbox some seconds later.
    pub fn hand_over(&self, events: Vec<Outgoing>) {
        // Full or stopped: both leave the events where they are safe.
        let _ = self.0.try_send(events);
    }
}

impl Relay {
    /// A relay of `outbox`, and the handle of those who commit to it.
    pub fn new(outbox: impl Outbox + 'static, publisher: Publisher, clock: Clock) -> (Self, RelayHandle) {
        let (sender, handed_over) = mpsc::channel(HAND_OVER_CAPACITY);
        (
            Self {
                outbox: Arc::new(outbox),
                publisher,
                clock,
                handed_over,
            },
            RelayHandle(sender),
        )
    }

    /// Works until `stop` is cancelled, and then until what has been handed over is published.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut reachable, mut has_senders) = (true, true);
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                received = self.handed_over.recv_many(&mut batch, HAND_OVERS_AT_ONCE), if has_senders => {
                    has_senders = received > 0;
                    self.publish(batch).await;
                }
                _ = sweep.tick() => {
                    let swept = self.sweep().await;
                    log_change(&mut reachable, swept);
                }
            }
        }
        self.handed_over.close();
        let mut rest = Vec::new();
        while self.handed_over.recv_many(&mut rest, HAND_OVERS_AT_ONCE).await > 0 {
            self.publish(std::mem::take(&mut rest)).await;
        }
    }

    /// Publishes what was handed over. What fails waits in the outbox for the sweep.
    async fn publish(&self, batch: Vec<Vec<Outgoing>>) {
        let events: Vec<Outgoing> = batch.into_iter().flatten().collect();
        let delivery = self.publisher.publish(&events).await;
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

    /// Publishes what has waited too long. An entry that fails waits longer each time and is parked in the end.
    async fn sweep(&self) -> Result<(), OutboxError> {
        let due = self.outbox.due(self.clock.now(), SWEEP_LIMIT).await?;
        if due.is_empty() {
            return Ok(());
        }
        let events: Vec<Outgoing> = due.iter().map(|entry| entry.event.clone()).collect();
        let delivery = self.publisher.publish(&events).await;
        self.outbox.remove(&delivery.sent).await?;
        tracing::info!(
            sent = delivery.sent.len(),
            failed = delivery.failed.len(),
            "swept events that were left behind"
        );

        let mut entries: HashMap<EventId, Entry> = due
            .into_iter()
            .map(|entry| (entry.event.event_id, entry))
            .collect();
        for failure in delivery.failed {
            let Some(mut entry) = entries.remove(&failure.event_id) else {
                continue;
            };
            entry.attempts += 1;
            let now = self.clock.now();
            let verdict = verdict(entry.attempts, now);
            if verdict == Verdict::Park {
                tracing::error!(
                    event_id = %entry.event.event_id,
                    detail_type = entry.event.detail_type,
                    attempts = entry.attempts,
                    reason = failure.reason,
                    "an event could not be published and is parked"
                );
            }
            self.outbox.keep(&entry, verdict, now).await?;
        }
        Ok(())
    }
}

/// Says once that the outbox cannot be reached, and once that it can be again.
fn log_change(reachable: &mut bool, swept: Result<(), OutboxError>) {
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
