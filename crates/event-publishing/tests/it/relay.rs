//! What is committed is heard on the bus, whatever happens in between.

use chrono::TimeDelta;
use domain::Clock;
use event_publishing::{Outbox, Relay};
use tokio_util::sync::CancellationToken;

use crate::support::{TestBus, TestClock, TestOutbox, TestParkingQueue, test_event};

#[tokio::test]
async fn what_is_handed_over_is_published_and_leaves_the_outbox() {
    let (store, bus, clock) = (TestOutbox::dynamo().await, TestBus::new().await, Clock::system());
    let event = test_event(clock.now());
    store.commit(&event, clock.now()).await;
    let outbox = store.into_dynamo_outbox();
    let (relay, handle) = Relay::new(
        outbox.clone(),
        bus.publisher.clone(),
        TestParkingQueue::new().await.queue,
        clock.clone(),
    );
    handle.notify_committed(vec![event.clone()]);
    let stop = CancellationToken::new();
    stop.cancel();
    relay.run(stop).await;

    assert_eq!(bus.next_event().await["detail-type"], "OrderCreated");
    assert_eq!(outbox.find(event.event_id).await.unwrap(), None);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_swept() {
    let (store, bus, ahead) = (
        TestOutbox::dynamo().await,
        TestBus::new().await,
        TestClock::default(),
    );
    let event = test_event(ahead.clock().now());
    store.commit(&event, ahead.clock().now()).await;
    let outbox = store.into_dynamo_outbox();
    let (relay, _handle) = Relay::new(
        outbox.clone(),
        bus.publisher.clone(),
        TestParkingQueue::new().await.queue,
        ahead.clock(),
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.set_seconds_ahead(10);

    assert_eq!(bus.next_event().await["detail-type"], "OrderCreated");
    stop.cancel();
    running.await.unwrap();
    assert_eq!(outbox.find(event.event_id).await.unwrap(), None);
}

#[tokio::test]
async fn what_the_bus_does_not_take_waits_and_is_not_lost() {
    let (store, ahead) = (TestOutbox::dynamo().await, TestClock::default());
    let event = test_event(ahead.clock().now());
    store.commit(&event, ahead.clock().now()).await;
    let outbox = store.into_dynamo_outbox();
    let (relay, handle) = Relay::new(
        outbox.clone(),
        TestBus::unreachable().await,
        TestParkingQueue::new().await.queue,
        ahead.clock(),
    );
    handle.notify_committed(vec![event.clone()]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.set_seconds_ahead(10);

    let far = ahead.clock().now() + TimeDelta::hours(1);
    let mut attempts = 0;
    for _ in 0..600 {
        attempts = outbox.fetch_due(far, 1).await.unwrap()[0].attempts;
        if attempts > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(
        attempts, 1,
        "the sweep tried, and will wait before it tries again"
    );
    stop.cancel();
    running.await.unwrap();

    let bus = TestBus::new().await;
    let (relay, _handle) = Relay::new(
        outbox.clone(),
        bus.publisher.clone(),
        TestParkingQueue::new().await.queue,
        ahead.clock(),
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.set_seconds_ahead(60);
    assert_eq!(bus.next_event().await["detail-type"], "OrderCreated");
    stop.cancel();
    running.await.unwrap();
}
