//! PutEvents fails in every way it can: nothing is lost, and only what failed is sent again.

use std::time::Duration;

use chrono::TimeDelta;
use domain::EventId;
use event_publishing::{DynamoOutbox, Outbox, Relay, RelayHandle, outbox::Backlog};
use events::OutboxEvent;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    eventbridge_stub::{
        CallOutcome::{self, CallRejected, EntriesFail, ResponseLost, TooLarge},
        EventBridgeStub,
    },
    support::{TestClock, TestOutbox, TestParkingQueue, test_event},
};

/// A relay at work between an outbox with some events and a bus with its fates.
struct TestContext {
    outbox: DynamoOutbox,
    parking: TestParkingQueue,
    bus: EventBridgeStub,
    clock: TestClock,
    events: Vec<OutboxEvent>,
    ids: Vec<EventId>,
    handle: RelayHandle,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl TestContext {
    async fn new(events: usize, fates: &[CallOutcome]) -> Self {
        Self::with_parking_queue(events, fates, TestParkingQueue::new().await).await
    }

    async fn with_parking_queue(events: usize, fates: &[CallOutcome], parking: TestParkingQueue) -> Self {
        let (store, ahead, stub) = (
            TestOutbox::dynamo().await,
            TestClock::default(),
            EventBridgeStub::new(fates).await,
        );
        let now = ahead.clock().now();
        // A millisecond apart, so that their ids stand in this order.
        let events: Vec<OutboxEvent> = (0..events)
            .map(|n| test_event(now + TimeDelta::milliseconds(i64::try_from(n).unwrap())))
            .collect();
        for event in &events {
            store.commit(event, now).await;
        }
        let outbox = store.into_dynamo_outbox();
        let publisher = stub.publisher().await;
        let (relay, handle) = Relay::new(outbox.clone(), publisher, parking.queue.clone(), ahead.clock());
        let stop = CancellationToken::new();
        let running = tokio::spawn(relay.run(stop.clone()));
        Self {
            ids: events.iter().map(|event| event.event_id).collect(),
            outbox,
            parking,
            bus: stub,
            clock: ahead,
            events,
            handle,
            stop,
            running,
        }
    }

    /// Waits, while time goes by in great steps, until the outbox is empty.
    async fn wait_until_empty(&self) {
        for minutes in 1..600 {
            if self.outbox.backlog().await.unwrap() == Backlog::default() {
                return;
            }
            self.clock.set_seconds_ahead(minutes * 300);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("something stays in the outbox");
    }

    /// Waits until this many calls were made.
    async fn wait_for_calls(&self, times: usize) {
        for _ in 0..600 {
            if self.bus.calls().len() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the bus was not called {times} times");
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

#[tokio::test]
async fn only_the_entries_that_failed_are_sent_again() {
    let world = TestContext::new(
        4,
        &[
            EntriesFail(&[1, 3], "InternalFailure"),
            EntriesFail(&[0], "ThrottlingException"),
        ],
    )
    .await;
    world.handle.notify_committed(world.events.clone());
    world.wait_until_empty().await;
    let ids = &world.ids;
    assert_eq!(
        world.bus.calls(),
        [ids.clone(), vec![ids[1], ids[3]], vec![ids[1]]]
    );
    assert_eq!(world.bus.accepted(), [ids[0], ids[2], ids[3], ids[1]]);
    assert!(world.parking.drain().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_call_that_was_refused_or_throttled_is_made_again() {
    for fate in [
        CallRejected(500, "InternalException"),
        CallRejected(400, "ThrottlingException"),
        CallRejected(400, "AccessDeniedException"),
    ] {
        let world = TestContext::new(2, &[fate]).await;
        world.handle.notify_committed(world.events.clone());
        world.wait_until_empty().await;
        assert_eq!(world.bus.calls(), [world.ids.clone(), world.ids.clone()]);
        assert_eq!(world.bus.accepted(), world.ids);
        assert!(world.parking.drain().await.is_empty());
        world.stop().await;
    }
}

#[tokio::test]
async fn what_was_taken_without_an_answer_is_said_twice_rather_than_never() {
    let world = TestContext::new(2, &[ResponseLost]).await;
    world.handle.notify_committed(world.events.clone());
    world.wait_until_empty().await;
    let ids = &world.ids;
    assert_eq!(world.bus.accepted(), [ids[0], ids[1], ids[0], ids[1]]);
    world.stop().await;
}

#[tokio::test]
async fn one_entry_that_is_too_much_takes_no_other_with_it() {
    let world = TestContext::new(3, &[TooLarge]).await;
    world.handle.notify_committed(world.events.clone());
    world.wait_until_empty().await;
    let ids = &world.ids;
    let alone: Vec<Vec<EventId>> = ids.iter().map(|id| vec![*id]).collect();
    assert_eq!(world.bus.calls(), [vec![ids.clone()], alone].concat());
    assert_eq!(world.bus.accepted(), *ids);
    world.stop().await;
}

#[tokio::test]
async fn what_the_bus_refuses_for_its_own_sake_is_parked_at_once() {
    let world = TestContext::new(2, &[EntriesFail(&[0], "MalformedDetail")]).await;
    world.wait_until_empty().await;
    assert_eq!(
        world.bus.calls(),
        std::slice::from_ref(&world.ids),
        "it is not tried thirty times"
    );
    assert_eq!(world.bus.accepted(), world.ids[1..]);

    let [parked] = &world.parking.drain().await[..] else {
        panic!("one is parked")
    };
    let event = &world.events[0];
    let entry = serde_json::json!({
        "EventBusName": "stub", "Source": event.source, "DetailType": event.detail_type,
        "Detail": event.detail, "Time": event.occurred_at.timestamp(),
    });
    assert_eq!(*parked, entry, "as PutEvents takes it");
    world.stop().await;
}

#[tokio::test]
async fn what_never_goes_is_parked_after_its_last_attempt() {
    let world = TestContext::new(1, &[CallRejected(500, "InternalException"); 30]).await;
    world.wait_until_empty().await;
    assert_eq!(world.bus.calls().len(), 30);
    assert_eq!(world.bus.accepted(), []);
    assert_eq!(world.parking.drain().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn what_can_neither_go_nor_be_parked_stays_and_is_tried_again() {
    let world = TestContext::with_parking_queue(
        1,
        &[EntriesFail(&[0], "InvalidArgument"); 2],
        TestParkingQueue::missing().await,
    )
    .await;
    world.clock.set_seconds_ahead(10);
    world.wait_for_calls(1).await;
    world.wait_until_empty().await;
    assert_eq!(world.bus.calls().len(), 3);
    assert_eq!(world.bus.accepted(), world.ids);
    world.stop().await;
}
