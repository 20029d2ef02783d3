//! Somebody who hears everything that is said on the bus, and repeats a share of it: at once, and much later.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, Target};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use e2e::consistency::ObservedEvent;
use futures::future::try_join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const QUEUE: &str = "e2e-chaos";
const BUS: &str = "ecommerce-event-bus";

/// How many events are heard until one that was put aside is said again.
const DELAYED_REPLAY_AFTER_EVENTS: usize = 400;

/// How many poll at once: an order is half a dozen events, and each poll brings ten at most.
const POLLERS: usize = 4;

/// The listener.
pub struct EventReplayer {
    sqs: aws_sdk_sqs::Client,
    bus: aws_sdk_eventbridge::Client,
    queue_url: String,
    state: Mutex<ReplayState>,
}

struct ReplayState {
    rng: StdRng,
    /// One in so many is repeated.
    replay_ratio: u32,
    seen_event_ids: HashSet<String>,
    observed_events: Vec<ObservedEvent>,
    outcome_counts: HashMap<&'static str, usize>,
    /// Events to be said again, by the number of events after which it is their time.
    delayed_events: Vec<(usize, Value)>,
    replayed_immediately: u64,
    replayed_late: u64,
}

/// How often what was said again.
#[derive(Clone, Copy, Debug)]
pub struct ReplayCounts {
    /// Right after it was said.
    pub immediate: u64,
    /// Long after, with younger events in between.
    pub delayed: u64,
}

impl EventReplayer {
    /// Listens from now on, once [`run`](Self::run) runs.
    pub async fn create(repeated: u32, seed: u64) -> Result<Self> {
        let config = aws_client::sdk_config().await;
        let sqs = aws_sdk_sqs::Client::new(&config);
        let bus = aws_sdk_eventbridge::Client::new(&config);
        let queue = sqs.create_queue().queue_name(QUEUE).send().await?;
        let rule = bus.put_rule().event_bus_name(BUS).name(QUEUE);
        rule.event_pattern(r#"{"source": [{"prefix": ""}]}"#)
            .send()
            .await?;
        let arn = format!("arn:aws:sqs:ap-northeast-1:000000000000:{QUEUE}");
        let target = Target::builder().id(QUEUE).arn(arn).build()?;
        bus.put_targets()
            .event_bus_name(BUS)
            .rule(QUEUE)
            .targets(target)
            .send()
            .await?;
        Ok(Self {
            sqs,
            bus,
            queue_url: queue.queue_url.context("a queue has a URL")?,
            state: Mutex::new(ReplayState {
                rng: StdRng::seed_from_u64(seed),
                replay_ratio: repeated,
                seen_event_ids: HashSet::new(),
                observed_events: Vec::new(),
                outcome_counts: HashMap::new(),
                delayed_events: Vec::new(),
                replayed_immediately: 0,
                replayed_late: 0,
            }),
        })
    }

    /// Listens until `stop` and until nothing is left to be heard, and repeats until `quiet`.
    pub async fn run(&self, quiet: &CancellationToken, stop: &CancellationToken) -> Result<()> {
        try_join_all((0..POLLERS).map(|_| self.poll(quiet, stop))).await?;
        Ok(())
    }

    async fn poll(&self, quiet: &CancellationToken, stop: &CancellationToken) -> Result<()> {
        loop {
            let poll = self.sqs.receive_message().queue_url(&self.queue_url);
            let poll = poll.max_number_of_messages(10).wait_time_seconds(2).send();
            let messages = poll.await?.messages.unwrap_or_default();
            if messages.is_empty() {
                if stop.is_cancelled() {
                    return Ok(());
                }
                continue;
            }
            let again: Vec<Value> = messages
                .iter()
                .filter_map(|message| serde_json::from_str(message.body.as_deref()?).ok())
                .flat_map(|event| self.observe(event))
                .collect();
            if !quiet.is_cancelled() {
                self.publish(&again).await?;
            }
            self.ack(messages).await?;
        }
    }

    /// Takes in an event; what is to be said again now.
    fn observe(&self, event: Value) -> Vec<Value> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let id = event["detail"]["event_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if !inner.seen_event_ids.insert(id) {
            return Vec::new();
        }
        if let Some(heard) = ObservedEvent::parse(&event.to_string()) {
            for kind in ["OrderCompleted", "OrderFailed", "OrderCancelled"] {
                if heard.detail_type == kind {
                    *inner.outcome_counts.entry(kind).or_default() += 1;
                }
            }
            inner.observed_events.push(heard);
        }
        let now = inner.observed_events.len();
        let mut again = Vec::new();
        if inner.rng.random_ratio(1, inner.replay_ratio) {
            inner.replayed_immediately += 1;
            again.push(event.clone());
        }
        if inner.rng.random_ratio(1, inner.replay_ratio) {
            inner
                .delayed_events
                .push((now + DELAYED_REPLAY_AFTER_EVENTS, event));
        }
        let (due, later) = std::mem::take(&mut inner.delayed_events)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        inner.delayed_events = later;
        inner.replayed_late += Vec::len(&due) as u64;
        again.extend(due.into_iter().map(|(_, event)| event));
        again
    }

    /// Says what is left to be said late.
    pub async fn flush(&self) -> Result<()> {
        let rest = std::mem::take(&mut self.lock().delayed_events);
        self.lock().replayed_late += rest.len() as u64;
        let rest: Vec<Value> = rest.into_iter().map(|(_, event)| event).collect();
        self.publish(&rest).await
    }

    /// Publishes events again as the relay would: the same envelope, with the same event id.
    async fn publish(&self, events: &[Value]) -> Result<()> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for events in events.chunks(10) {
            let entries = events.iter().map(|event| {
                PutEventsRequestEntry::builder()
                    .event_bus_name(BUS)
                    .source(text(&event["source"]))
                    .detail_type(text(&event["detail-type"]))
                    .detail(event["detail"].to_string())
                    .build()
            });
            self.bus
                .put_events()
                .set_entries(Some(entries.collect()))
                .send()
                .await?;
        }
        Ok(())
    }

    async fn ack(&self, messages: Vec<Message>) -> Result<()> {
        let entries: Result<Vec<_>, _> = messages
            .into_iter()
            .enumerate()
            .map(|(number, message)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(number.to_string())
                    .set_receipt_handle(message.receipt_handle)
                    .build()
            })
            .collect();
        let delete = self.sqs.delete_message_batch().queue_url(&self.queue_url);
        delete.set_entries(Some(entries?)).send().await?;
        Ok(())
    }

    /// How many orders have ended, by the event that tells of it.
    pub fn outcome_counts(&self) -> HashMap<&'static str, usize> {
        self.lock().outcome_counts.clone()
    }

    /// What was repeated so far.
    pub fn replay_counts(&self) -> ReplayCounts {
        let inner = self.lock();
        ReplayCounts {
            immediate: inner.replayed_immediately,
            delayed: inner.replayed_late,
        }
    }

    /// Everything that was heard, each event once.
    pub fn observed_events(&self) -> Vec<ObservedEvent> {
        self.lock().observed_events.clone()
    }

    fn lock(&self) -> MutexGuard<'_, ReplayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
