//! Contract tests that every outbox must pass.

use chrono::TimeDelta;
use domain::{Clock, EventId};
use event_publishing::outbox::Backlog;
use sqlx::PgPool;

use crate::support::{TestOutbox, test_event};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn postgres_outboxes_meet_the_contract(pool: PgPool) {
    for outbox in postgres_outboxes(&pool) {
        let relay_delay = match outbox {
            // Only the relay publishes account events.
            TestOutbox::Account(_) => 0,
            _ => 5,
        };
        check_outbox_contract(outbox, relay_delay).await;
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn postgres_outboxes_are_separate(pool: PgPool) {
    let now = Clock::system().now();
    let outboxes = postgres_outboxes(&pool);
    for outbox in &outboxes {
        outbox.commit(&test_event(now), now).await;
    }
    for outbox in &outboxes {
        assert_eq!(outbox.outbox().backlog().await.unwrap().entries, 1);
    }
}

#[tokio::test]
async fn dynamo_outbox_meets_the_contract() {
    check_outbox_contract(TestOutbox::dynamo().await, 5).await;
}

fn postgres_outboxes(pool: &PgPool) -> [TestOutbox; 3] {
    [
        TestOutbox::Catalog(pool.clone()),
        TestOutbox::Inventory(pool.clone()),
        TestOutbox::Account(pool.clone()),
    ]
}

/// `relay_delay` is how many seconds after the commit an entry is due.
async fn check_outbox_contract(test_outbox: TestOutbox, relay_delay: i64) {
    let (outbox, now) = (test_outbox.outbox(), Clock::system().now());
    let seconds = TimeDelta::seconds;
    let (first, second) = (test_event(now), test_event(now + seconds(1)));
    test_outbox.commit(&first, now).await;
    test_outbox.commit(&second, now).await;
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
        "entries count from their commit on"
    );
    assert_eq!(
        due(relay_delay - 1, 10).await,
        [],
        "entries are not due before the relay's delay has passed"
    );
    assert_eq!(
        due(relay_delay, 10).await,
        [(first.event_id, 0), (second.event_id, 0)]
    );
    assert_eq!(due(5, 1).await.len(), 1);

    let mut entry = outbox.fetch_due(now + seconds(5), 10).await.unwrap().remove(0);
    assert_eq!(entry.event, first, "the event is stored unchanged");
    entry.attempts = 1;
    outbox.retry_at(&entry, now + seconds(60)).await.unwrap();
    assert_eq!(due(59, 10).await, [(second.event_id, 0)]);
    assert!(due(60, 10).await.contains(&(first.event_id, 1)));

    assert_eq!(
        outbox.backlog().await.unwrap().entries,
        2,
        "rescheduled entries count as backlog"
    );

    outbox.remove(&[first.event_id]).await.unwrap();
    let remaining = Backlog {
        entries: 1,
        oldest: Some(second.occurred_at),
    };
    assert_eq!(outbox.backlog().await.unwrap(), remaining);
    outbox.remove(&[second.event_id]).await.unwrap();
    outbox.remove(&[second.event_id]).await.unwrap();
    assert_eq!(due(86_400, 10).await, []);
    assert_eq!(outbox.backlog().await.unwrap(), Backlog::default());

    entry.event = second;
    outbox.retry_at(&entry, now).await.unwrap();
    assert_eq!(
        due(86_400, 10).await,
        [],
        "retry_at does not recreate a removed entry"
    );
}
