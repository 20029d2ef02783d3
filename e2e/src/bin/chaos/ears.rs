//! Somebody who hears everything that is said on the bus, and repeats a share of it: at once, and much later.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, Target};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use e2e::books::Heard;
use futures::future::try_join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const QUEUE: &str = "e2e-chaos";
const BUS: &str = "ecommerce-event-bus";

/// How many events are heard until one that was put aside is said again.
const LATER: usize = 400;

/// How many poll at once: an order is half a dozen events, and each poll brings ten at most.
const POLLERS: usize = 4;

/// The listener.
pub struct Ears {
    sqs: aws_sdk_sqs::Client,
    bus: aws_sdk_eventbridge::Client,
    queue_url: String,
    inner: Mutex<Inner>,
}

struct Inner {
    dice: StdRng,
    /// One in so many is repeated.
    repeated: u32,
    known: HashSet<String>,
    heard: Vec<Heard>,
    ends: HashMap<&'static str, usize>,
    /// Events to be said again, by the number of events after which it is their time.
    later: Vec<(usize, Value)>,
    at_once: u64,
    late: u64,
}

/// How often what was said again.
#[derive(Clone, Copy, Debug)]
pub struct Repeated {
    /// Right after it was said.
    pub at_once: u64,
    /// Long after, with younger events in between.
    pub late: u64,
}

impl Ears {
    /// Listens from now on, once [`run`](Self::run) runs.
    pub async fn open(repeated: u32, seed: u64) -> Result<Self> {
        let config = cloud::sdk_config().await;
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
            inner: Mutex::new(Inner {
                dice: StdRng::seed_from_u64(seed),
                repeated,
                known: HashSet::new(),
                heard: Vec::new(),
                ends: HashMap::new(),
                later: Vec::new(),
                at_once: 0,
                late: 0,
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
                .flat_map(|event| self.hear(event))
                .collect();
            if !quiet.is_cancelled() {
                self.say(&again).await?;
            }
            self.forget(messages).await?;
        }
    }

    /// Takes in an event; what is to be said again now.
    fn hear(&self, event: Value) -> Vec<Value> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let id = event["detail"]["event_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if !inner.known.insert(id) {
            return Vec::new();
        }
        if let Some(heard) = Heard::parse(&event.to_string()) {
            for kind in ["OrderCompleted", "OrderFailed", "OrderCancelled"] {
                if heard.detail_type == kind {
                    *inner.ends.entry(kind).or_default() += 1;
                }
            }
            inner.heard.push(heard);
        }
        let now = inner.heard.len();
        let mut again = Vec::new();
        if inner.dice.random_ratio(1, inner.repeated) {
            inner.at_once += 1;
            again.push(event.clone());
        }
        if inner.dice.random_ratio(1, inner.repeated) {
            inner.later.push((now + LATER, event));
        }
        let (due, later) = std::mem::take(&mut inner.later)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        inner.later = later;
        inner.late += Vec::len(&due) as u64;
        again.extend(due.into_iter().map(|(_, event)| event));
        again
    }

    /// Says what is left to be said late.
    pub async fn say_the_rest(&self) -> Result<()> {
        let rest = std::mem::take(&mut self.lock().later);
        self.lock().late += rest.len() as u64;
        let rest: Vec<Value> = rest.into_iter().map(|(_, event)| event).collect();
        self.say(&rest).await
    }

    /// Publishes events again as the relay would: the same envelope, with the same event id.
    async fn say(&self, events: &[Value]) -> Result<()> {
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

    async fn forget(&self, messages: Vec<Message>) -> Result<()> {
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
    pub fn ends(&self) -> HashMap<&'static str, usize> {
        self.lock().ends.clone()
    }

    /// What was repeated so far.
    pub fn repeated(&self) -> Repeated {
        let inner = self.lock();
        Repeated {
            at_once: inner.at_once,
            late: inner.late,
        }
    }

    /// Everything that was heard, each event once.
    pub fn heard(&self) -> Vec<Heard> {
        self.lock().heard.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
