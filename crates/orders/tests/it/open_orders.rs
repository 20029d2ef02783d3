//! The index of open orders, and restarts of their saga.

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
async fn lists_oldest_orders_first_across_shards() {
    let context = TestContext::new().await;
    let mut placed = Vec::new();
    for minutes in [3, 40, 11, 25, 7, 33, 18, 50, 29, 14, 46, 21] {
        placed.push((minutes, context.place_minutes_ago(minutes).await.order_id));
    }
    placed.sort_by_key(|(minutes, _)| -minutes);
    let oldest_first: Vec<OrderId> = placed.iter().map(|(_, order_id)| *order_id).collect();

    let open = context.orders.open_orders(context.clock.now(), 5).await.unwrap();
    assert_eq!((open.count, open.oldest), (12, Some(oldest_first[0])));
    assert_eq!(context.overdue_orders(0, 5).await, oldest_first[..5]);
    assert_eq!(context.overdue_orders(0, 100).await, oldest_first);
    assert_eq!(context.overdue_orders(28, 100).await, oldest_first[..5]);
}

#[tokio::test]
async fn order_is_open_until_cancelled_failed_or_completed() {
    let context = TestContext::new().await;
    let (cancelled, failed, completed) = (
        context.place().await,
        context.place().await,
        context.place().await,
    );
    assert_eq!(context.overdue_orders(0, 10).await.len(), 3);
    context.cancel(&cancelled).await.unwrap();
    context.claim(&failed).await.unwrap();
    context.claim(&completed).await.unwrap();
    assert_eq!(
        context.overdue_orders(0, 10).await,
        [failed.order_id, completed.order_id]
    );
    context.close(&failed).await.unwrap();
    assert_eq!(
        context.overdue_orders(0, 10).await.len(),
        2,
        "an order closed to payment is still open"
    );
    context.fail(&failed).await.unwrap();
    context.record_payment(&completed).await.unwrap();
    context.complete(&completed).await.unwrap();
    assert_eq!(context.overdue_orders(0, 10).await, []);
}

#[tokio::test]
async fn restart_is_counted_once_and_only_for_open_orders() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    let before = context.order(&placed).await;
    let (one, other) = tokio::join!(
        context.orders.increment_restarts(&before),
        context.orders.increment_restarts(&before)
    );
    assert_ne!(
        one.unwrap(),
        other.unwrap(),
        "only one of two concurrent callers increments the counter"
    );

    let after = context.order(&placed).await;
    assert_eq!((after.restarts, after.restarted_at.is_some()), (1, true));
    assert!(
        !context.orders.park(&before).await.unwrap(),
        "its saga was restarted meanwhile"
    );
    context.cancel(&placed).await.unwrap();
    assert!(!context.orders.increment_restarts(&after).await.unwrap());
    assert!(!context.orders.park(&after).await.unwrap());
}

#[tokio::test]
async fn parked_order_is_listed_until_it_has_ended() {
    let context = TestContext::new().await;
    let (parked, open) = (context.place().await, context.place().await);
    let order = context.order(&parked).await;
    assert!(context.orders.park(&order).await.unwrap());
    assert_eq!(context.overdue_orders(0, 10).await, [open.order_id]);
    let listed = context.orders.parked_orders(10).await.unwrap();
    assert_eq!((listed.count, listed.oldest), (1, Some(parked.order_id)));
    assert_eq!(listed.overdue, [(parked.user_id, parked.order_id)]);
    let order = context.order(&parked).await;
    assert!(order.is_parked() && order.parked_at.is_some(), "{order:?}");

    context.claim(&parked).await.unwrap();
    context.record_payment(&parked).await.unwrap();
    context.complete(&parked).await.unwrap();
    assert_eq!(context.orders.parked_orders(10).await.unwrap().count, 0);
    assert!(
        !context.orders.unpark(&order).await.unwrap(),
        "the order has ended"
    );
}

#[tokio::test]
async fn unparked_order_is_open_with_more_restarts() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    let order = context.order(&placed).await;
    assert!(!context.orders.unpark(&order).await.unwrap(), "it is not parked");
    assert!(context.orders.increment_restarts(&order).await.unwrap());
    assert!(context.orders.park(&context.order(&placed).await).await.unwrap());
    assert!(
        context
            .orders
            .unpark(&context.order(&placed).await)
            .await
            .unwrap()
    );
    assert_eq!(context.overdue_orders(0, 10).await, [placed.order_id]);
    assert_eq!(context.orders.parked_orders(10).await.unwrap().count, 0);
    let order = context.order(&placed).await;
    assert_eq!(
        (order.restarts, order.restart_limit, order.is_parked()),
        (1, Some(4), false)
    );
}
