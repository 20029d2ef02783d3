//! Observes all events on the bus and publishes a share of them again: immediately, and after newer events.

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

const CAPTURE_QUEUE: &str = "e2e-chaos";
const BUS: &str = "ecommerce-event-bus";

/// After how many newer events a delayed replay is published.
const DELAYED_REPLAY_AFTER_EVENTS: usize = 400;

/// The number of concurrent polls: an order has about six events, and a poll returns at most ten.
const POLLERS: usize = 4;

pub struct EventReplayer {
    sqs: aws_sdk_sqs::Client,
    bus: aws_sdk_eventbridge::Client,
    queue_url: String,
    state: Mutex<ReplayState>,
}

struct ReplayState {
    rng: StdRng,
    /// One in this many events is replayed immediately, and as many are replayed later.
    replay_ratio: u32,
    seen_event_ids: HashSet<String>,
    observed_events: Vec<ObservedEvent>,
    outcome_counts: HashMap<&'static str, usize>,
    /// Events to replay, each with the number of observed events at which it is due.
    delayed_events: Vec<(usize, Value)>,
    replayed_immediately: u64,
    replayed_delayed: u64,
}

/// The number of replayed events.
#[derive(Clone, Copy, Debug)]
pub struct ReplayCounts {
    /// Replayed directly after their first publication.
    pub immediate: u64,
    /// Replayed after newer events.
    pub delayed: u64,
}

impl EventReplayer {
    /// Creates a queue that receives all events from now on. [`run`](Self::run) consumes it.
    pub async fn create(replay_ratio: u32, seed: u64) -> Result<Self> {
        let config = aws_client::sdk_config().await;
        let sqs = aws_sdk_sqs::Client::new(&config);
        let bus = aws_sdk_eventbridge::Client::new(&config);
        let queue = sqs.create_queue().queue_name(CAPTURE_QUEUE).send().await?;
        let rule = bus.put_rule().event_bus_name(BUS).name(CAPTURE_QUEUE);
        rule.event_pattern(r#"{"source": [{"prefix": ""}]}"#)
            .send()
            .await?;
        let arn = format!("arn:aws:sqs:ap-northeast-1:000000000000:{CAPTURE_QUEUE}");
        let target = Target::builder().id(CAPTURE_QUEUE).arn(arn).build()?;
        bus.put_targets()
            .event_bus_name(BUS)
            .rule(CAPTURE_QUEUE)
            .targets(target)
            .send()
            .await?;
        Ok(Self {
            sqs,
            bus,
            queue_url: queue.queue_url.context("CreateQueue returned no URL")?,
            state: Mutex::new(ReplayState {
                rng: StdRng::seed_from_u64(seed),
                replay_ratio,
                seen_event_ids: HashSet::new(),
                observed_events: Vec::new(),
                outcome_counts: HashMap::new(),
                delayed_events: Vec::new(),
                replayed_immediately: 0,
                replayed_delayed: 0,
            }),
        })
    }

    /// Replays events until `stop_replays` is cancelled. Observes events until `stop_observing` is cancelled
    /// and the queue is empty.
    pub async fn run(
        &self,
        stop_replays: &CancellationToken,
        stop_observing: &CancellationToken,
    ) -> Result<()> {
        try_join_all((0..POLLERS).map(|_| self.poll(stop_replays, stop_observing))).await?;
        Ok(())
    }

    async fn poll(&self, stop_replays: &CancellationToken, stop_observing: &CancellationToken) -> Result<()> {
        loop {
            let receive = self.sqs.receive_message().queue_url(&self.queue_url);
            let receive = receive.max_number_of_messages(10).wait_time_seconds(2);
            // SQS returns no list instead of an empty one.
            let messages = receive.send().await?.messages.unwrap_or_default();
            if messages.is_empty() {
                if stop_observing.is_cancelled() {
                    return Ok(());
                }
                continue;
            }
            let replays: Vec<Value> = messages
                .iter()
                .filter_map(|message| serde_json::from_str(message.body.as_deref()?).ok())
                .flat_map(|event| self.observe(event))
                .collect();
            if !stop_replays.is_cancelled() {
                self.publish(&replays).await?;
            }
            self.ack(messages).await?;
        }
    }

    /// Records an event, and returns the events to publish now. Ignores known events and events without our
    /// envelope.
    fn observe(&self, event: Value) -> Vec<Value> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(id) = event["detail"]["event_id"].as_str() else {
            return Vec::new();
        };
        if !state.seen_event_ids.insert(id.to_owned()) {
            return Vec::new();
        }
        if let Some(observed) = ObservedEvent::parse(&event.to_string()) {
            for detail_type in ["OrderCompleted", "OrderFailed", "OrderCancelled"] {
                if observed.detail_type == detail_type {
                    *state.outcome_counts.entry(detail_type).or_default() += 1;
                }
            }
            state.observed_events.push(observed);
        }
        let now = state.observed_events.len();
        let mut replays = Vec::new();
        if state.rng.random_ratio(1, state.replay_ratio) {
            state.replayed_immediately += 1;
            replays.push(event.clone());
        }
        if state.rng.random_ratio(1, state.replay_ratio) {
            state
                .delayed_events
                .push((now + DELAYED_REPLAY_AFTER_EVENTS, event));
        }
        let (due, later) = std::mem::take(&mut state.delayed_events)
            .into_iter()
            .partition(|(due_at, _)| *due_at <= now);
        state.delayed_events = later;
        state.replayed_delayed += Vec::len(&due) as u64;
        replays.extend(due.into_iter().map(|(_, event)| event));
        replays
    }

    /// Publishes all events that wait for a delayed replay.
    pub async fn flush(&self) -> Result<()> {
        let remaining = std::mem::take(&mut self.lock().delayed_events);
        self.lock().replayed_delayed += remaining.len() as u64;
        let remaining: Vec<Value> = remaining.into_iter().map(|(_, event)| event).collect();
        self.publish(&remaining).await
    }

    /// Publishes events as the outbox relay does when it retries: with the same envelope and event id.
    async fn publish(&self, events: &[Value]) -> Result<()> {
        let text = |value: &Value| {
            let text = value.as_str();
            text.expect("EventBridge delivers source and detail type as strings")
                .to_owned()
        };
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

    /// The number of orders by the detail type of their outcome event.
    pub fn outcome_counts(&self) -> HashMap<&'static str, usize> {
        self.lock().outcome_counts.clone()
    }

    pub fn replay_counts(&self) -> ReplayCounts {
        let state = self.lock();
        ReplayCounts {
            immediate: state.replayed_immediately,
            delayed: state.replayed_delayed,
        }
    }

    /// All observed events, without duplicates.
    pub fn observed_events(&self) -> Vec<ObservedEvent> {
        self.lock().observed_events.clone()
    }

    fn lock(&self) -> MutexGuard<'_, ReplayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
