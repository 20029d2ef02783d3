//! Erasure of personal data, and lookup by idempotency key.

use domain::{FailureReason, UserId};
use orders::AnonymiseError;

use crate::support::TestContext;

#[tokio::test]
async fn anonymises_all_orders_once_all_have_ended() {
    let context = TestContext::new().await;
    let user_id = UserId::new(context.clock.now());
    let mut placed = Vec::new();
    // More orders than one page.
    for number in 0..12 {
        let new = context.new_order(user_id, &format!("key {number}"));
        placed.push(context.placement.place(&new).await.unwrap().0);
    }
    let (last, others) = placed.split_last().unwrap();
    for order in others {
        context
            .store
            .cancel(user_id, order.order_id, order.event_context())
            .await
            .unwrap();
    }
    let result = context.orders.anonymise(user_id).await;
    assert!(matches!(result, Err(AnonymiseError::OrderInProgress(open)) if open == last.order_id));
    let orders = context.orders.list_all(user_id).await.unwrap();
    assert_eq!(orders.len(), 12);
    assert!(
        orders.iter().all(|order| !order.is_anonymous()),
        "no order is changed while one is open"
    );

    let reason = FailureReason::InsufficientStock;
    context
        .store
        .fail(user_id, last.order_id, reason, &last.event_context())
        .await
        .unwrap();
    for _ in 0..2 {
        context.orders.anonymise(user_id).await.unwrap();
    }
    let orders = context.orders.list_all(user_id).await.unwrap();
    assert_eq!(orders.len(), 12);
    for (order, before) in orders.iter().rev().zip(&placed) {
        assert!(order.is_anonymous());
        assert_eq!((order.contact_email.as_str(), &order.sms_contact), ("", &None));
        assert_eq!(
            (order.order_id, &order.items, order.total_amount),
            (before.order_id, &before.items, before.total_amount)
        );
    }
}

#[tokio::test]
async fn finds_order_by_idempotency_key() {
    let context = TestContext::new().await;
    let user_id = UserId::new(context.clock.now());
    let find = async |key: &str| context.placement.find_by_key(user_id, key).await.unwrap();
    assert_eq!(find("key").await, None);
    let (order, _) = context
        .placement
        .place(&context.new_order(user_id, "key"))
        .await
        .unwrap();
    assert_eq!(
        find("key").await.map(|order| order.order_id),
        Some(order.order_id)
    );
    assert_eq!(find("another").await, None);
    let other_user = UserId::new(context.clock.now());
    assert_eq!(
        context.placement.find_by_key(other_user, "key").await.unwrap(),
        None,
        "keys are scoped to the customer"
    );
}
