//! PutEvents fails in every way it can: nothing is lost, and only what failed is sent again.

use std::time::Duration;

use bus::{DynamoOutbox, Outbox, Relay, RelayHandle, outbox::Backlog};
use chrono::TimeDelta;
use domain::EventId;
use events::Outgoing;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    stub::{
        Fate::{self, AnswerLost, Failing, Refused, TooLarge},
        Stub,
    },
    world::{Ahead, Parking, Store, event},
};

/// A relay at work between an outbox with some events and a bus with its fates.
struct World {
    outbox: DynamoOutbox,
    parking: Parking,
    stub: Stub,
    ahead: Ahead,
    events: Vec<Outgoing>,
    ids: Vec<EventId>,
    handle: RelayHandle,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    async fn new(events: usize, fates: &[Fate]) -> Self {
        Self::with(events, fates, Parking::new().await).await
    }

    async fn with(events: usize, fates: &[Fate], parking: Parking) -> Self {
        let (store, ahead, stub) = (Store::dynamo().await, Ahead::default(), Stub::new(fates).await);
        let now = ahead.clock().now();
        // A millisecond apart, so that their ids stand in this order.
        let events: Vec<Outgoing> = (0..events)
            .map(|n| event(now + TimeDelta::milliseconds(i64::try_from(n).unwrap())))
            .collect();
        for event in &events {
            store.commit(event, now).await;
        }
        let outbox = store.into_dynamo();
        let publisher = stub.publisher().await;
        let (relay, handle) = Relay::new(outbox.clone(), publisher, parking.queue.clone(), ahead.clock());
        let stop = CancellationToken::new();
        let running = tokio::spawn(relay.run(stop.clone()));
        Self {
            ids: events.iter().map(|event| event.event_id).collect(),
            outbox,
            parking,
            stub,
            ahead,
            events,
            handle,
            stop,
            running,
        }
    }

    /// Waits, while time goes by in great steps, until the outbox is empty.
    async fn drained(&self) {
        for minutes in 1..600 {
            if self.outbox.backlog().await.unwrap() == Backlog::default() {
                return;
            }
            self.ahead.by_seconds(minutes * 300);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("something stays in the outbox");
    }

    /// Waits until this many calls were made.
    async fn called(&self, times: usize) {
        for _ in 0..600 {
            if self.stub.calls().len() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the bus was not called {times} times");
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

#[tokio::test]
async fn only_the_entries_that_failed_are_sent_again() {
    let world = World::new(
        4,
        &[
            Failing(&[1, 3], "InternalFailure"),
            Failing(&[0], "ThrottlingException"),
        ],
    )
    .await;
    world.handle.hand_over(world.events.clone());
    world.drained().await;
    let ids = &world.ids;
    assert_eq!(
        world.stub.calls(),
        [ids.clone(), vec![ids[1], ids[3]], vec![ids[1]]]
    );
    assert_eq!(world.stub.taken(), [ids[0], ids[2], ids[3], ids[1]]);
    assert!(world.parking.bodies().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_call_that_was_refused_or_throttled_is_made_again() {
    for fate in [
        Refused(500, "InternalException"),
        Refused(400, "ThrottlingException"),
        Refused(400, "AccessDeniedException"),
    ] {
        let world = World::new(2, &[fate]).await;
        world.handle.hand_over(world.events.clone());
        world.drained().await;
        assert_eq!(world.stub.calls(), [world.ids.clone(), world.ids.clone()]);
        assert_eq!(world.stub.taken(), world.ids);
        assert!(world.parking.bodies().await.is_empty());
        world.end().await;
    }
}

#[tokio::test]
async fn what_was_taken_without_an_answer_is_said_twice_rather_than_never() {
    let world = World::new(2, &[AnswerLost]).await;
    world.handle.hand_over(world.events.clone());
    world.drained().await;
    let ids = &world.ids;
    assert_eq!(world.stub.taken(), [ids[0], ids[1], ids[0], ids[1]]);
    world.end().await;
}

#[tokio::test]
async fn one_entry_that_is_too_much_takes_no_other_with_it() {
    let world = World::new(3, &[TooLarge]).await;
    world.handle.hand_over(world.events.clone());
    world.drained().await;
    let ids = &world.ids;
    let alone: Vec<Vec<EventId>> = ids.iter().map(|id| vec![*id]).collect();
    assert_eq!(world.stub.calls(), [vec![ids.clone()], alone].concat());
    assert_eq!(world.stub.taken(), *ids);
    world.end().await;
}

#[tokio::test]
async fn what_the_bus_refuses_for_its_own_sake_is_parked_at_once() {
    let world = World::new(2, &[Failing(&[0], "MalformedDetail")]).await;
    world.drained().await;
    assert_eq!(
        world.stub.calls(),
        std::slice::from_ref(&world.ids),
        "it is not tried thirty times"
    );
    assert_eq!(world.stub.taken(), world.ids[1..]);

    let [parked] = &world.parking.bodies().await[..] else {
        panic!("one is parked")
    };
    let event = &world.events[0];
    let entry = serde_json::json!({
        "EventBusName": "stub", "Source": event.source, "DetailType": event.detail_type,
        "Detail": event.detail, "Time": event.occurred_at.timestamp(),
    });
    assert_eq!(*parked, entry, "as PutEvents takes it");
    world.end().await;
}

#[tokio::test]
async fn what_never_goes_is_parked_after_its_last_attempt() {
    let world = World::new(1, &[Refused(500, "InternalException"); 30]).await;
    world.drained().await;
    assert_eq!(world.stub.calls().len(), 30);
    assert_eq!(world.stub.taken(), []);
    assert_eq!(world.parking.bodies().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_can_neither_go_nor_be_parked_stays_and_is_tried_again() {
    let world = World::with(
        1,
        &[Failing(&[0], "InvalidArgument"); 2],
        Parking::missing().await,
    )
    .await;
    world.ahead.by_seconds(10);
    world.called(1).await;
    world.drained().await;
    assert_eq!(world.stub.calls().len(), 3);
    assert_eq!(world.stub.taken(), world.ids);
    world.end().await;
}
