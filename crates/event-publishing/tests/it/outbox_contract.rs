//! What every outbox does, whatever store it is in.

use chrono::TimeDelta;
use domain::{Clock, EventId};
use event_publishing::outbox::Backlog;
use sqlx::PgPool;

use crate::support::{TestOutbox, test_event};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn postgres_keeps_the_contract(pool: PgPool) {
    check_outbox_contract(TestOutbox::Postgres(pool)).await;
}

#[tokio::test]
async fn dynamo_keeps_the_contract() {
    check_outbox_contract(TestOutbox::dynamo().await).await;
}

async fn check_outbox_contract(store: TestOutbox) {
    let (outbox, now) = (store.outbox(), Clock::system().now());
    let seconds = TimeDelta::seconds;
    let (first, second) = (test_event(now), test_event(now + seconds(1)));
    store.commit(&first, now).await;
    store.commit(&second, now).await;
    let due = async |after: i64, limit: u32| -> Vec<(EventId, u32)> {
        let due = outbox.fetch_due(now + seconds(after), limit).await.unwrap();
        due.into_iter()
            .map(|entry| (entry.event.event_id, entry.attempts))
            .collect()
    };

    let oldest = Some(first.occurred_at);
    assert_eq!(
        outbox.backlog().await.unwrap(),
        Backlog { entries: 2, oldest },
        "from the commit on"
    );
    assert_eq!(
        due(4, 10).await,
        [],
        "whoever committed it has some seconds to publish it"
    );
    assert_eq!(due(5, 10).await, [(first.event_id, 0), (second.event_id, 0)]);
    assert_eq!(due(5, 1).await.len(), 1);

    let mut entry = outbox.fetch_due(now + seconds(5), 10).await.unwrap().remove(0);
    assert_eq!(entry.event, first, "what comes out is what went in");
    entry.attempts = 1;
    outbox.retry_at(&entry, now + seconds(60)).await.unwrap();
    assert_eq!(due(59, 10).await, [(second.event_id, 0)]);
    assert!(due(60, 10).await.contains(&(first.event_id, 1)));

    assert_eq!(
        outbox.backlog().await.unwrap().entries,
        2,
        "what waits longer waits too"
    );

    outbox.remove(&[first.event_id]).await.unwrap();
    let left = Backlog {
        entries: 1,
        oldest: Some(second.occurred_at),
    };
    assert_eq!(outbox.backlog().await.unwrap(), left);
    outbox.remove(&[second.event_id]).await.unwrap();
    outbox.remove(&[second.event_id]).await.unwrap();
    assert_eq!(due(86_400, 10).await, []);
    assert_eq!(outbox.backlog().await.unwrap(), Backlog::default());

    entry.event = second;
    outbox.retry_at(&entry, now).await.unwrap();
    assert_eq!(
        due(86_400, 10).await,
        [],
        "what another has published meanwhile stays gone"
    );
}
