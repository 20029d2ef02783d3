//! The relay publishes every committed event, directly or by a sweep.

use chrono::TimeDelta;
use domain::Clock;
use event_publishing::{Outbox, Relay};
use tokio_util::sync::CancellationToken;

use crate::support::{TestBus, TestClock, TestOutbox, TestParkingQueue, test_event};

#[tokio::test]
async fn publishes_committed_events_and_removes_them() {
    let (test_outbox, bus, clock) = (TestOutbox::dynamo().await, TestBus::new().await, Clock::system());
    let event = test_event(clock.now());
    test_outbox.commit(&event, clock.now()).await;
    let outbox = test_outbox.into_dynamo_outbox();
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
async fn sweeps_events_orphaned_by_a_crash() {
    let (test_outbox, bus, test_clock) = (
        TestOutbox::dynamo().await,
        TestBus::new().await,
        TestClock::default(),
    );
    let event = test_event(test_clock.clock().now());
    test_outbox.commit(&event, test_clock.clock().now()).await;
    let outbox = test_outbox.into_dynamo_outbox();
    let (relay, _handle) = Relay::new(
        outbox.clone(),
        bus.publisher.clone(),
        TestParkingQueue::new().await.queue,
        test_clock.clock(),
    );
    let stop = CancellationToken::new();
    let relay_task = tokio::spawn(relay.run(stop.clone()));
    test_clock.set_seconds_ahead(10);

    assert_eq!(bus.next_event().await["detail-type"], "OrderCreated");
    stop.cancel();
    relay_task.await.unwrap();
    assert_eq!(outbox.find(event.event_id).await.unwrap(), None);
}

#[tokio::test]
async fn keeps_events_while_the_bus_is_unreachable() {
    let (test_outbox, test_clock) = (TestOutbox::dynamo().await, TestClock::default());
    let event = test_event(test_clock.clock().now());
    test_outbox.commit(&event, test_clock.clock().now()).await;
    let outbox = test_outbox.into_dynamo_outbox();
    let (relay, handle) = Relay::new(
        outbox.clone(),
        TestBus::unreachable().await,
        TestParkingQueue::new().await.queue,
        test_clock.clock(),
    );
    handle.notify_committed(vec![event.clone()]);
    let stop = CancellationToken::new();
    let relay_task = tokio::spawn(relay.run(stop.clone()));
    test_clock.set_seconds_ahead(10);

    let far = test_clock.clock().now() + TimeDelta::hours(1);
    let mut attempts = 0;
    for _ in 0..600 {
        attempts = outbox.fetch_due(far, 1).await.unwrap()[0].attempts;
        if attempts > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(attempts, 1, "the sweep tried once and backs off");
    stop.cancel();
    relay_task.await.unwrap();

    let bus = TestBus::new().await;
    let (relay, _handle) = Relay::new(
        outbox.clone(),
        bus.publisher.clone(),
        TestParkingQueue::new().await.queue,
        test_clock.clock(),
    );
    let stop = CancellationToken::new();
    let relay_task = tokio::spawn(relay.run(stop.clone()));
    test_clock.set_seconds_ahead(60);
    assert_eq!(bus.next_event().await["detail-type"], "OrderCreated");
    stop.cancel();
    relay_task.await.unwrap();
}
