//! What every outbox does, whatever store it is in.

use bus::outbox::Verdict;
use chrono::TimeDelta;
use domain::{Clock, EventId};
use sqlx::PgPool;

use crate::world::{Store, event};

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn postgres_keeps_the_contract(pool: PgPool) {
    keeps_the_contract(Store::Postgres(pool)).await;
}

#[tokio::test]
async fn dynamo_keeps_the_contract() {
    keeps_the_contract(Store::dynamo().await).await;
}

async fn keeps_the_contract(store: Store) {
    let (outbox, now) = (store.outbox(), Clock::system().now());
    let seconds = TimeDelta::seconds;
    let (first, second) = (event(now), event(now + seconds(1)));
    store.commit(&first, now).await;
    store.commit(&second, now).await;
    let due = async |after: i64, limit: u32| -> Vec<(EventId, u32)> {
        let due = outbox.due(now + seconds(after), limit).await.unwrap();
        due.into_iter()
            .map(|entry| (entry.event.event_id, entry.attempts))
            .collect()
    };

    assert_eq!(
        due(4, 10).await,
        [],
        "whoever committed it has some seconds to publish it"
    );
    assert_eq!(due(5, 10).await, [(first.event_id, 0), (second.event_id, 0)]);
    assert_eq!(due(5, 1).await.len(), 1);

    let mut entry = outbox.due(now + seconds(5), 10).await.unwrap().remove(0);
    assert_eq!(entry.event, first, "what comes out is what went in");
    entry.attempts = 1;
    outbox
        .keep(&entry, Verdict::RetryAt(now + seconds(60)), now)
        .await
        .unwrap();
    assert_eq!(due(59, 10).await, [(second.event_id, 0)]);
    assert!(due(60, 10).await.contains(&(first.event_id, 1)));

    outbox.keep(&entry, Verdict::Park, now).await.unwrap();
    assert_eq!(
        due(86_400, 10).await,
        [(second.event_id, 0)],
        "what is parked is left alone"
    );

    outbox.remove(&[second.event_id]).await.unwrap();
    outbox.remove(&[second.event_id]).await.unwrap();
    assert_eq!(due(86_400, 10).await, []);

    entry.event = second;
    outbox.keep(&entry, Verdict::RetryAt(now), now).await.unwrap();
    assert_eq!(
        due(86_400, 10).await,
        [],
        "what another has published meanwhile stays gone"
    );
}
