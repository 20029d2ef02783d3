//! What is committed is heard on the bus, whatever happens in between.

use bus::{Outbox, Relay};
use chrono::TimeDelta;
use domain::Clock;
use tokio_util::sync::CancellationToken;

use crate::world::{Ahead, Bus, Parking, Store, event};

#[tokio::test]
async fn what_is_handed_over_is_published_and_leaves_the_outbox() {
    let (store, bus, clock) = (Store::dynamo().await, Bus::new().await, Clock::system());
    let event = event(clock.now());
    store.commit(&event, clock.now()).await;
    let outbox = store.into_dynamo();
    let (relay, handle) = Relay::new(
        outbox.clone(),
        bus.publisher.clone(),
        Parking::new().await.queue,
        clock.clone(),
    );
    handle.hand_over(vec![event.clone()]);
    let stop = CancellationToken::new();
    stop.cancel();
    relay.run(stop).await;

    assert_eq!(bus.heard().await["detail-type"], "OrderCreated");
    assert_eq!(outbox.find(event.event_id).await.unwrap(), None);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_swept() {
    let (store, bus, ahead) = (Store::dynamo().await, Bus::new().await, Ahead::default());
    let event = event(ahead.clock().now());
    store.commit(&event, ahead.clock().now()).await;
    let outbox = store.into_dynamo();
    let (relay, _handle) = Relay::new(
        outbox.clone(),
        bus.publisher.clone(),
        Parking::new().await.queue,
        ahead.clock(),
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.by_seconds(10);

    assert_eq!(bus.heard().await["detail-type"], "OrderCreated");
    stop.cancel();
    running.await.unwrap();
    assert_eq!(outbox.find(event.event_id).await.unwrap(), None);
}

#[tokio::test]
async fn what_the_bus_does_not_take_waits_and_is_not_lost() {
    let (store, ahead) = (Store::dynamo().await, Ahead::default());
    let event = event(ahead.clock().now());
    store.commit(&event, ahead.clock().now()).await;
    let outbox = store.into_dynamo();
    let (relay, handle) = Relay::new(
        outbox.clone(),
        Bus::unreachable().await,
        Parking::new().await.queue,
        ahead.clock(),
    );
    handle.hand_over(vec![event.clone()]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.by_seconds(10);

    let far = ahead.clock().now() + TimeDelta::hours(1);
    let mut attempts = 0;
    for _ in 0..600 {
        attempts = outbox.due(far, 1).await.unwrap()[0].attempts;
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

    let bus = Bus::new().await;
    let (relay, _handle) = Relay::new(
        outbox.clone(),
        bus.publisher.clone(),
        Parking::new().await.queue,
        ahead.clock(),
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.by_seconds(60);
    assert_eq!(bus.heard().await["detail-type"], "OrderCreated");
    stop.cancel();
    running.await.unwrap();
}
