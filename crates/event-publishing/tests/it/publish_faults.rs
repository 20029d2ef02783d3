//! Faults of PutEvents: no event is lost, and only failed events are sent again.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use domain::EventId;
use event_publishing::{DynamoOutbox, Outbox, Relay, RelayHandle, outbox::Backlog};
use events::OutboxEvent;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    eventbridge_stub::{
        CallOutcome::{self, CallRejected, EntriesFail, Hangs, ResponseLost, TooLarge},
        EventBridgeStub,
    },
    support::{TestClock, TestOutbox, TestParkingQueue, test_event},
};

/// A running relay between an outbox with events and an EventBridge stub with configured outcomes.
struct TestContext {
    outbox: DynamoOutbox,
    parking_queue: TestParkingQueue,
    bus: EventBridgeStub,
    clock: TestClock,
    events: Vec<OutboxEvent>,
    ids: Vec<EventId>,
    handle: RelayHandle,
    stop: CancellationToken,
    relay_task: JoinHandle<()>,
}

impl TestContext {
    async fn new(events: usize, outcomes: &[CallOutcome]) -> Self {
        Self::with_parking_queue(events, outcomes, TestParkingQueue::new().await).await
    }

    async fn with_parking_queue(
        events: usize,
        outcomes: &[CallOutcome],
        parking_queue: TestParkingQueue,
    ) -> Self {
        let (test_outbox, clock, bus) = (
            TestOutbox::dynamo().await,
            TestClock::default(),
            EventBridgeStub::new(outcomes).await,
        );
        let now = clock.clock().now();
        // A millisecond apart, so that their ids sort in this order.
        let events: Vec<OutboxEvent> = (0..events)
            .map(|n| test_event(now + TimeDelta::milliseconds(i64::try_from(n).unwrap())))
            .collect();
        for event in &events {
            test_outbox.commit(event, now).await;
        }
        let outbox = test_outbox.into_dynamo_outbox();
        let publisher = bus.publisher().await;
        let (relay, handle) = Relay::new(
            outbox.clone(),
            publisher,
            parking_queue.queue.clone(),
            clock.clock(),
        );
        let stop = CancellationToken::new();
        let relay_task = tokio::spawn(relay.run(stop.clone()));
        Self {
            ids: events.iter().map(|event| event.event_id).collect(),
            outbox,
            parking_queue,
            bus,
            clock,
            events,
            handle,
            stop,
            relay_task,
        }
    }

    /// Advances the clock in large steps until the outbox is empty.
    async fn wait_until_empty(&self) {
        for step in 1..600 {
            if self.outbox.backlog().await.unwrap() == Backlog::default() {
                return;
            }
            self.clock.set_seconds_ahead(step * 300);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the outbox did not become empty");
    }

    /// Waits until the bus has received this many calls.
    async fn wait_for_calls(&self, times: usize) {
        for _ in 0..600 {
            if self.bus.calls().len() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the bus did not receive {times} calls");
    }

    async fn stop(self) {
        self.stop.cancel();
        self.relay_task.await.unwrap();
    }
}

#[tokio::test]
async fn retries_only_failed_entries() {
    let context = TestContext::new(
        4,
        &[
            EntriesFail(&[1, 3], "InternalFailure"),
            EntriesFail(&[0], "ThrottlingException"),
        ],
    )
    .await;
    context.handle.notify_committed(context.events.clone());
    context.wait_until_empty().await;
    let ids = &context.ids;
    assert_eq!(
        context.bus.calls(),
        [ids.clone(), vec![ids[1], ids[3]], vec![ids[1]]]
    );
    assert_eq!(context.bus.accepted(), [ids[0], ids[2], ids[3], ids[1]]);
    assert!(context.parking_queue.drain().await.is_empty());
    context.stop().await;
}

#[tokio::test]
async fn retries_failed_and_throttled_calls() {
    for outcome in [
        CallRejected(500, "InternalException"),
        CallRejected(400, "ThrottlingException"),
        CallRejected(400, "AccessDeniedException"),
    ] {
        let context = TestContext::new(2, &[outcome]).await;
        context.handle.notify_committed(context.events.clone());
        context.wait_until_empty().await;
        assert_eq!(context.bus.calls(), [context.ids.clone(), context.ids.clone()]);
        assert_eq!(context.bus.accepted(), context.ids);
        assert!(context.parking_queue.drain().await.is_empty());
        context.stop().await;
    }
}

#[tokio::test]
async fn publishes_again_after_lost_response() {
    let context = TestContext::new(2, &[ResponseLost]).await;
    context.handle.notify_committed(context.events.clone());
    context.wait_until_empty().await;
    let ids = &context.ids;
    assert_eq!(context.bus.accepted(), [ids[0], ids[1], ids[0], ids[1]]);
    context.stop().await;
}

#[tokio::test]
async fn oversized_entry_does_not_block_others() {
    let context = TestContext::new(3, &[TooLarge]).await;
    context.handle.notify_committed(context.events.clone());
    context.wait_until_empty().await;
    let ids = &context.ids;
    let alone: Vec<Vec<EventId>> = ids.iter().map(|id| vec![*id]).collect();
    assert_eq!(context.bus.calls(), [vec![ids.clone()], alone].concat());
    assert_eq!(context.bus.accepted(), *ids);
    context.stop().await;
}

#[tokio::test]
async fn parks_invalid_event_at_once() {
    let context = TestContext::new(2, &[EntriesFail(&[0], "MalformedDetail")]).await;
    context.wait_until_empty().await;
    assert_eq!(
        context.bus.calls(),
        std::slice::from_ref(&context.ids),
        "an invalid event is not retried"
    );
    assert_eq!(context.bus.accepted(), context.ids[1..]);

    let [parked] = &context.parking_queue.drain().await[..] else {
        panic!("expected exactly one parked event")
    };
    let event = &context.events[0];
    let entry = serde_json::json!({
        "EventBusName": "stub", "Source": event.source, "DetailType": event.detail_type,
        "Detail": event.detail, "Time": event.occurred_at.timestamp(),
    });
    assert_eq!(*parked, entry, "the parked body is a PutEvents entry");
    context.stop().await;
}

#[tokio::test]
async fn parks_event_after_last_attempt() {
    let context = TestContext::new(1, &[CallRejected(500, "InternalException"); 30]).await;
    context.wait_until_empty().await;
    assert_eq!(context.bus.calls().len(), 30);
    assert_eq!(context.bus.accepted(), []);
    assert_eq!(context.parking_queue.drain().await.len(), 1);
    context.stop().await;
}

#[tokio::test]
async fn keeps_event_that_cannot_be_parked() {
    let context = TestContext::with_parking_queue(
        1,
        &[EntriesFail(&[0], "InvalidArgument"); 2],
        TestParkingQueue::missing().await,
    )
    .await;
    context.clock.set_seconds_ahead(10);
    context.wait_for_calls(1).await;
    context.wait_until_empty().await;
    assert_eq!(context.bus.calls().len(), 3);
    assert_eq!(context.bus.accepted(), context.ids);
    context.stop().await;
}

#[tokio::test]
async fn sweeps_other_events_while_a_call_hangs() {
    let context = TestContext::new(2, &[Hangs]).await;
    context.handle.notify_committed(context.events[..1].to_vec());
    context.wait_for_calls(1).await;
    context.clock.set_seconds_ahead(10);
    context.wait_for_calls(2).await;
    assert_eq!(
        context.bus.hanging(),
        1,
        "the first call still waits for a response"
    );
    context.wait_until_empty().await;
    assert!(context.bus.accepted().contains(&context.ids[1]));
    context.stop().await;
}

#[tokio::test]
async fn gives_up_a_call_that_hangs_and_publishes_again() {
    let context = TestContext::new(1, &[Hangs]).await;
    let started = Instant::now();
    context.handle.notify_committed(context.events.clone());
    context.wait_for_calls(1).await;
    while context.bus.hanging() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "a call has a time limit of five seconds"
    );
    context.wait_until_empty().await;
    assert_eq!(context.bus.accepted(), context.ids);
    context.stop().await;
}
