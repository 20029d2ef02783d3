//! One key, one order.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use domain::{Clock, Quantity, UserId};
use orders::PlaceError;

use crate::support::TestContext;

#[tokio::test]
async fn the_same_key_gives_the_same_order_as_it_was_at_first() {
    let store = TestContext::new().await;
    let new = store.new_order(UserId::new(store.clock.now()), "key");
    let (first, event) = store.orders.place(&new).await.unwrap();
    assert!(event.is_some());
    store
        .orders
        .cancel(new.user_id, first.order_id, first.event_context())
        .await
        .unwrap();

    let (again, event) = store.orders.place(&new).await.unwrap();
    assert_eq!(again, first);
    assert!(event.is_none());
    assert_eq!(store.events().await, ["OrderCreated", "OrderCancelled"]);
}

#[tokio::test]
async fn the_same_key_for_another_order_is_refused() {
    let store = TestContext::new().await;
    let new = store.new_order(UserId::new(store.clock.now()), "key");
    store.orders.place(&new).await.unwrap();

    let mut more = new.clone();
    more.items[0].quantity = Quantity::new(3).unwrap();
    assert!(matches!(
        store.orders.place(&more).await,
        Err(PlaceError::KeyReused)
    ));

    let mut other_card = new.clone();
    other_card.payment_method = "pm_card_jcb".to_owned();
    assert!(matches!(
        store.orders.place(&other_card).await,
        Err(PlaceError::KeyReused)
    ));
    assert_eq!(store.events().await, ["OrderCreated"]);
}

#[tokio::test]
async fn a_price_that_changed_meanwhile_is_no_other_order() {
    let store = TestContext::new().await;
    let new = store.new_order(UserId::new(store.clock.now()), "key");
    let (first, _) = store.orders.place(&new).await.unwrap();
    let mut dearer = new.clone();
    dearer.items[0].price = 900;
    assert_eq!(store.orders.place(&dearer).await.unwrap().0, first);
}

#[tokio::test]
async fn another_customer_has_keys_of_their_own() {
    let store = TestContext::new().await;
    let one = store.new_order(UserId::new(store.clock.now()), "key");
    let other = store.new_order(UserId::new(store.clock.now()), "key");
    let (first, _) = store.orders.place(&one).await.unwrap();
    let (second, _) = store.orders.place(&other).await.unwrap();
    assert_ne!(first.order_id, second.order_id);
    assert_eq!(
        store.orders.find(other.user_id, first.order_id).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_key_can_be_used_again_when_it_has_expired_although_it_is_still_stored() {
    let store = TestContext::new().await;
    let new = store.new_order(UserId::new(store.clock.now()), "key");
    let (first, _) = store.orders.place(&new).await.unwrap();
    let tomorrow = Clock::from_fn(|| Clock::system().now() + TimeDelta::hours(25));
    let (second, _) = store.with_clock(tomorrow).place(&new).await.unwrap();
    assert_ne!(first.order_id, second.order_id);
}

#[tokio::test]
async fn twenty_at_once_with_one_key_make_one_order() {
    let store = TestContext::new().await;
    let new = store.new_order(UserId::new(store.clock.now()), "key");
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let (orders, new) = (store.orders.clone(), new.clone());
            tokio::spawn(async move { orders.place(&new).await })
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
    assert_eq!(store.events().await, ["OrderCreated"]);
}

#[tokio::test]
async fn pages_show_every_order_once_newest_first() {
    let store = TestContext::new().await;
    let user_id = UserId::new(store.clock.now());
    let mut placed = Vec::new();
    for number in 0..5 {
        let new = store.new_order(user_id, &format!("key {number}"));
        placed.insert(0, store.orders.place(&new).await.unwrap().0.order_id);
    }
    let (mut seen, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.orders.list(user_id, 2, from).await.unwrap();
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
