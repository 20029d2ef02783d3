//! Cancelling orders, which is possible until the payment starts.

use domain::OrderId;
use e2e::system::{TestSystem, eventually};

#[tokio::test]
async fn completed_order_cannot_be_cancelled() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
    assert_eq!(
        system.cancel_order(&customer, order_id).await.expect_problem(409),
        "too-late-to-cancel"
    );
    assert_eq!(
        system.get_order(&customer, order_id).await.expect_status(200)["status"],
        "completed"
    );
}

#[tokio::test]
async fn order_cannot_be_cancelled_during_its_payment() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_slow").await;
    eventually("the payment to start", async || {
        let order = system.get_order(&customer, order_id).await.expect_status(200);
        (order["status"] == "processing").then_some(())
    })
    .await;
    assert_eq!(
        system.cancel_order(&customer, order_id).await.expect_problem(409),
        "too-late-to-cancel"
    );
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
}

#[tokio::test]
async fn another_customers_order_is_not_found() {
    let system = TestSystem::shared();
    let (customer, other_customer) = (system.customer().await, system.customer().await);
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    let unknown = OrderId::new(system.now());
    let for_other_order = system.cancel_order(&other_customer, order_id).await;
    let for_unknown_order = system.cancel_order(&other_customer, unknown).await;
    assert_eq!(
        for_other_order.body, for_unknown_order.body,
        "the response must not reveal that the order exists"
    );
    assert_eq!(for_other_order.expect_problem(404), "not-found");
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
}
