//! What is committed is heard on the bus, whatever happens in between.

use bus::{DynamoOutbox, Outbox, Relay};
use chrono::TimeDelta;
use domain::Clock;
use tokio_util::sync::CancellationToken;

use crate::world::{Ahead, Bus, Store, event};

/// The outbox of a store in DynamoDB, once more: the relay takes one for itself.
fn outbox(store: &Store) -> DynamoOutbox {
    match store {
        Store::Dynamo(client, table) => DynamoOutbox::new(client.clone(), table),
        Store::Postgres(_) => panic!("these tests use DynamoDB"),
    }
}

#[tokio::test]
async fn what_is_handed_over_is_published_and_leaves_the_outbox() {
    let (store, bus, clock) = (Store::dynamo().await, Bus::new().await, Clock::system());
    let event = event(clock.now());
    store.commit(&event, clock.now()).await;
    let (relay, handle) = Relay::new(outbox(&store), bus.publisher.clone(), clock.clone());
    handle.hand_over(vec![event.clone()]);
    let stop = CancellationToken::new();
    stop.cancel();
    relay.run(stop).await;

    assert_eq!(bus.heard().await["detail-type"], "OrderCreated");
    assert_eq!(outbox(&store).find(event.event_id).await.unwrap(), None);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_swept() {
    let (store, bus, ahead) = (Store::dynamo().await, Bus::new().await, Ahead::default());
    let event = event(ahead.clock().now());
    store.commit(&event, ahead.clock().now()).await;
    let (relay, _handle) = Relay::new(outbox(&store), bus.publisher.clone(), ahead.clock());
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.by_seconds(10);

    assert_eq!(bus.heard().await["detail-type"], "OrderCreated");
    stop.cancel();
    running.await.unwrap();
    assert_eq!(outbox(&store).find(event.event_id).await.unwrap(), None);
}

#[tokio::test]
async fn what_the_bus_does_not_take_waits_and_is_not_lost() {
    let (store, ahead) = (Store::dynamo().await, Ahead::default());
    let event = event(ahead.clock().now());
    store.commit(&event, ahead.clock().now()).await;
    let (relay, handle) = Relay::new(outbox(&store), Bus::unreachable().await, ahead.clock());
    handle.hand_over(vec![event.clone()]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.by_seconds(10);

    let far = ahead.clock().now() + TimeDelta::hours(1);
    let mut attempts = 0;
    for _ in 0..600 {
        attempts = outbox(&store).due(far, 1).await.unwrap()[0].attempts;
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
    let (relay, _handle) = Relay::new(outbox(&store), bus.publisher.clone(), ahead.clock());
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    ahead.by_seconds(60);
    assert_eq!(bus.heard().await["detail-type"], "OrderCreated");
    stop.cancel();
    running.await.unwrap();
}
