//! Idempotency keys, and pagination of orders.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use domain::{Clock, OrderId, Quantity, UserId};
use orders::PlaceError;

use crate::support::TestContext;

#[tokio::test]
async fn same_key_returns_the_original_order() {
    let context = TestContext::new().await;
    let new = context.new_order(UserId::new(context.clock.now()), "key");
    let (first, event) = context.placement.place(&new).await.unwrap();
    assert!(event.is_some());
    context
        .store
        .cancel(new.user_id, first.order_id, first.event_context())
        .await
        .unwrap();

    let (again, event) = context.placement.place(&new).await.unwrap();
    assert_eq!(again, first);
    assert!(event.is_none());
    assert_eq!(context.events().await, ["OrderCreated", "OrderCancelled"]);
}

#[tokio::test]
async fn same_key_with_different_order_is_rejected() {
    let context = TestContext::new().await;
    let new = context.new_order(UserId::new(context.clock.now()), "key");
    context.placement.place(&new).await.unwrap();

    let mut more = new.clone();
    more.items[0].quantity = Quantity::new(3).unwrap();
    assert!(matches!(
        context.placement.place(&more).await,
        Err(PlaceError::KeyReused)
    ));

    let mut other_card = new.clone();
    other_card.payment_method = "pm_card_jcb".to_owned();
    assert!(matches!(
        context.placement.place(&other_card).await,
        Err(PlaceError::KeyReused)
    ));
    assert_eq!(context.events().await, ["OrderCreated"]);
}

#[tokio::test]
async fn same_key_with_changed_price_returns_the_original_order() {
    let context = TestContext::new().await;
    let new = context.new_order(UserId::new(context.clock.now()), "key");
    let (first, _) = context.placement.place(&new).await.unwrap();
    let mut repriced = new.clone();
    repriced.items[0].price = 900;
    assert_eq!(context.placement.place(&repriced).await.unwrap().0, first);
}

#[tokio::test]
async fn keys_are_scoped_to_the_customer() {
    let context = TestContext::new().await;
    let one = context.new_order(UserId::new(context.clock.now()), "key");
    let other = context.new_order(UserId::new(context.clock.now()), "key");
    let (first, _) = context.placement.place(&one).await.unwrap();
    let (second, _) = context.placement.place(&other).await.unwrap();
    assert_ne!(first.order_id, second.order_id);
    assert_eq!(
        context.orders.find(other.user_id, first.order_id).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn expired_key_can_be_reused_while_still_stored() {
    let context = TestContext::new().await;
    let new = context.new_order(UserId::new(context.clock.now()), "key");
    let (first, _) = context.placement.place(&new).await.unwrap();
    let tomorrow = Clock::from_fn(|| Clock::system().now() + TimeDelta::hours(25));
    let (second, _) = context.with_clock(tomorrow).placement.place(&new).await.unwrap();
    assert_ne!(first.order_id, second.order_id);
}

#[tokio::test]
async fn concurrent_requests_with_one_key_place_one_order() {
    let context = TestContext::new().await;
    let new = context.new_order(UserId::new(context.clock.now()), "key");
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let (placement, new) = (context.placement.clone(), new.clone());
            tokio::spawn(async move { placement.place(&new).await })
        })
        .collect();
    let mut ids = BTreeSet::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok((order, _)) => drop(ids.insert(order.order_id)),
            Err(PlaceError::InProgress) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(context.events().await, ["OrderCreated"]);
}

#[tokio::test]
async fn pages_list_every_order_once_newest_first() {
    let context = TestContext::new().await;
    let user_id = UserId::new(context.clock.now());
    let mut placed = Vec::new();
    for number in 0..5 {
        let new = context.new_order(user_id, &format!("key {number}"));
        placed.insert(0, context.placement.place(&new).await.unwrap().0.order_id);
    }
    let (mut seen, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = context.orders.list(user_id, 2, from).await.unwrap();
        seen.extend(page.orders.iter().map(|order| order.order_id));
        pages += 1;
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, placed);
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn order_is_placed_together_with_the_other_item_or_not_at_all() {
    let context = TestContext::new().await;
    let user_id = UserId::new(context.clock.now());
    let place = async |key: &str| {
        let order_id = OrderId::new(context.clock.now());
        let new = context.new_order(user_id, key);
        let placed = context.placement.place_with(order_id, &new, context.other_item());
        placed.await.unwrap()
    };
    assert!(place("first").await.is_some());
    assert!(place("second").await.is_none(), "the other item exists");
    assert_eq!(context.orders.list_all(user_id).await.unwrap().len(), 1);
    assert_eq!(context.events().await, ["OrderCreated"]);
    let second = context.placement.find_by_key(user_id, "second").await;
    assert_eq!(second.unwrap(), None);
}
