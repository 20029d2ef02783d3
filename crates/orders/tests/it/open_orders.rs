//! Which orders count as open, and what is counted about them.

use chrono::TimeDelta;
use domain::{Clock, OrderId};

use crate::support::{PlacedOrder, TestContext};

impl TestContext {
    async fn place_minutes_ago(&self, minutes: i64) -> PlacedOrder {
        self.place_at(Clock::from_fn(move || {
            Clock::system().now() - TimeDelta::minutes(minutes)
        }))
        .await
    }

    async fn overdue_orders(&self, minutes: i64, limit: usize) -> Vec<OrderId> {
        let before = self.clock.now() - TimeDelta::minutes(minutes);
        let open = self.orders.open_orders(before, limit).await.unwrap();
        open.overdue.into_iter().map(|(_, order_id)| order_id).collect()
    }
}

#[tokio::test]
async fn the_oldest_are_found_first_wherever_in_the_index_they_stand() {
    let store = TestContext::new().await;
    let mut placed = Vec::new();
    for minutes in [3, 40, 11, 25, 7, 33, 18, 50, 29, 14, 46, 21] {
        placed.push((minutes, store.place_minutes_ago(minutes).await.order_id));
    }
    placed.sort_by_key(|(minutes, _)| -minutes);
    let oldest_first: Vec<OrderId> = placed.iter().map(|(_, order_id)| *order_id).collect();

    let open = store.orders.open_orders(store.clock.now(), 5).await.unwrap();
    assert_eq!((open.count, open.oldest), (12, Some(oldest_first[0])));
    assert_eq!(store.overdue_orders(0, 5).await, oldest_first[..5]);
    assert_eq!(store.overdue_orders(0, 100).await, oldest_first);
    assert_eq!(store.overdue_orders(28, 100).await, oldest_first[..5]);
}

#[tokio::test]
async fn an_order_is_open_until_it_ends_however_it_does() {
    let store = TestContext::new().await;
    let (cancelled, failed, completed) = (store.place().await, store.place().await, store.place().await);
    assert_eq!(store.overdue_orders(0, 10).await.len(), 3);
    store.cancel(&cancelled).await.unwrap();
    store.claim(&failed).await.unwrap();
    store.claim(&completed).await.unwrap();
    assert_eq!(
        store.overdue_orders(0, 10).await,
        [failed.order_id, completed.order_id]
    );
    store.close(&failed).await.unwrap();
    assert_eq!(
        store.overdue_orders(0, 10).await.len(),
        2,
        "closed to payment is not the end"
    );
    store.fail(&failed).await.unwrap();
    store.complete(&completed).await.unwrap();
    assert_eq!(store.overdue_orders(0, 10).await, []);
}

#[tokio::test]
async fn a_restart_is_counted_once_and_only_while_the_order_is_open() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    let before = store.order(&placed).await;
    let (one, other) = tokio::join!(
        store.orders.increment_restarts(&before),
        store.orders.increment_restarts(&before)
    );
    assert_ne!(one.unwrap(), other.unwrap(), "one of two that saw the same");

    let after = store.order(&placed).await;
    assert_eq!((after.restarts, after.restarted_at.is_some()), (1, true));
    assert!(
        !store.orders.mark_for_operator(&before).await.unwrap(),
        "its saga was started meanwhile"
    );
    store.cancel(&placed).await.unwrap();
    assert!(!store.orders.increment_restarts(&after).await.unwrap());
    assert!(!store.orders.mark_for_operator(&after).await.unwrap());
}

#[tokio::test]
async fn an_order_that_is_a_persons_is_not_found_again_and_can_still_end() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    let order = store.order(&placed).await;
    assert!(store.orders.mark_for_operator(&order).await.unwrap());
    assert_eq!(store.overdue_orders(0, 10).await, []);
    store.claim(&placed).await.unwrap();
    store.complete(&placed).await.unwrap();
    assert_eq!(store.overdue_orders(0, 10).await, []);
}
