//! The lines of a failed order return to the cart that they were ordered from.

use core_api::carts::CartId;
use domain::{FailureReason, Money, PaymentId};
use serde_json::json;
use sqlx::PgPool;

use crate::{
    checkout::TestShop,
    support::{RequestBuilderExt, TestResponse},
};

/// Ends the order as the saga does after a declined payment.
async fn fail_order(shop: &TestShop, placed: &TestResponse) {
    let order_id = placed.body_str("order_id").parse().unwrap();
    let orders = &shop.app.orders;
    let order = orders.find(shop.user_id, order_id).await.unwrap().unwrap();
    let context = order.event_context();
    shop.app
        .store
        .fail(shop.user_id, order_id, FailureReason::PaymentDeclined, &context)
        .await
        .unwrap();
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn failed_order_returns_its_lines_to_the_cart_once(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 2).await;
    shop.put_item(&shop.whisk, 1).await;
    let placed = shop.checkout("key").await;
    assert_eq!(placed.status, 202, "{placed:?}");
    assert_eq!(shop.cart_items().await, [], "the order is open");

    // The customer goes on while the order fails.
    shop.put_item(&shop.bowl, 5).await;
    fail_order(&shop, &placed).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        tasks.spawn(shop.app.get("/v1/cart").bearer_auth(&shop.token).fetch());
    }
    for response in tasks.join_all().await {
        assert_eq!(response.status, 200, "{response:?}");
    }
    let merged = [(shop.bowl.clone(), 7), (shop.whisk.clone(), 1)];
    assert_eq!(shop.cart_items().await, merged);
    assert_eq!(
        shop.checkout("key").await.body,
        placed.body,
        "a repeated request gets its order"
    );
    assert_eq!(shop.cart_items().await, merged);

    let second = shop.checkout("second").await;
    assert_eq!(
        (second.status, &second.body["total_amount"]),
        (202, &json!(54_700))
    );
    fail_order(&shop, &second).await;
    let removal = shop.app.delete(format!("/v1/cart/items/{}", shop.whisk));
    assert_eq!(removal.bearer_auth(&shop.token).fetch().await.status, 204);
    assert_eq!(
        shop.cart_items().await,
        [(shop.bowl.clone(), 7)],
        "a change applies to the cart with the returned lines"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn completed_and_cancelled_orders_return_nothing_to_the_cart(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 2).await;
    let cancelled = shop.checkout("cancelled").await;
    let cancel = shop.app.post(format!("{}/cancel", cancelled.header("location")));
    assert_eq!(cancel.bearer_auth(&shop.token).fetch().await.status, 200);
    assert_eq!(shop.cart_items().await, []);

    shop.put_item(&shop.bowl, 1).await;
    let completed = shop.checkout("completed").await;
    let order_id = completed.body_str("order_id").parse().unwrap();
    let orders = &shop.app.orders;
    let order = orders.find(shop.user_id, order_id).await.unwrap().unwrap();
    let payment_id = PaymentId("pi_1".to_owned());
    orders
        .claim_for_payment(shop.user_id, order_id, &payment_id)
        .await
        .unwrap();
    let total = Money::new(order.total_amount, order.currency).unwrap();
    let store = &shop.app.store;
    store
        .record_payment(shop.user_id, order_id, &payment_id, total, &order.event_context())
        .await
        .unwrap();
    store
        .complete(shop.user_id, order_id, total, &order.event_context())
        .await
        .unwrap();
    assert_eq!(shop.cart_items().await, []);
    let cart = shop
        .app
        .carts
        .read(&CartId::for_user(shop.user_id))
        .await
        .unwrap();
    assert_eq!(cart.placed_orders, [], "the cart forgets orders that have ended");
}

/// Lines that do not fit are not lost: they return when there is room.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn lines_of_a_failed_order_return_when_they_fit(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 2).await;
    let placed = shop.checkout("key").await;
    shop.put_item(&shop.bowl, 9_998).await;
    fail_order(&shop, &placed).await;
    assert_eq!(shop.cart_items().await, [(shop.bowl.clone(), 9_998)]);
    shop.put_item(&shop.bowl, 3).await;
    assert_eq!(shop.cart_items().await, [(shop.bowl.clone(), 5)]);
}
