//! Customers who leave.

use domain::{FailureReason, UserId};
use orders::AnonymiseError;

use crate::support::TestContext;

#[tokio::test]
async fn what_leads_to_a_person_goes_from_every_order_once_all_have_ended() {
    let store = TestContext::new().await;
    let user_id = UserId::new(store.clock.now());
    let mut placed = Vec::new();
    // More than are read at once.
    for number in 0..12 {
        let new = store.new_order(user_id, &format!("key {number}"));
        placed.push(store.orders.place(&new).await.unwrap().0);
    }
    let (last, others) = placed.split_last().unwrap();
    for order in others {
        store
            .orders
            .cancel(user_id, order.order_id, order.event_context())
            .await
            .unwrap();
    }
    let refused = store.orders.anonymise(user_id).await;
    assert!(matches!(refused, Err(AnonymiseError::OrderInProgress(open)) if open == last.order_id));
    let orders = store.orders.list_all(user_id).await.unwrap();
    assert_eq!(orders.len(), 12);
    assert!(
        orders.iter().all(|order| !order.is_anonymous()),
        "none is touched while one is open"
    );

    let reason = FailureReason::InsufficientStock;
    store
        .orders
        .fail(user_id, last.order_id, reason, &last.event_context())
        .await
        .unwrap();
    for _ in 0..2 {
        store.orders.anonymise(user_id).await.unwrap();
    }
    let orders = store.orders.list_all(user_id).await.unwrap();
    assert_eq!(orders.len(), 12);
    for (order, before) in orders.iter().rev().zip(&placed) {
        assert!(order.is_anonymous());
        assert_eq!(
            (order.order_id, &order.items, order.total_amount),
            (before.order_id, &before.items, before.total_amount)
        );
    }
}

#[tokio::test]
async fn an_order_is_found_by_its_key_alone() {
    let store = TestContext::new().await;
    let user_id = UserId::new(store.clock.now());
    let under = async |key: &str| store.orders.find_by_key(user_id, key).await.unwrap();
    assert_eq!(under("key").await, None);
    let (order, _) = store
        .orders
        .place(&store.new_order(user_id, "key"))
        .await
        .unwrap();
    assert_eq!(
        under("key").await.map(|order| order.order_id),
        Some(order.order_id)
    );
    assert_eq!(under("another").await, None);
    let somebody = UserId::new(store.clock.now());
    assert_eq!(
        store.orders.find_by_key(somebody, "key").await.unwrap(),
        None,
        "a key is its customer's own"
    );
}
