//! Cancelling orders, which is possible until the payment starts.

use domain::OrderId;
use reqwest::Method;
use serde_json::Value;

use e2e::system::{
    ApiCaller, ApiResponse, TestSystem, aws::run_shell, eventually, send, test_users::status_history,
};

async fn cancel_order(system: &TestSystem, caller: &ApiCaller, order_id: OrderId) -> ApiResponse {
    let path = format!("/v1/orders/{order_id}/cancel");
    send(
        system
            .core_api_request(Method::POST, &path)
            .bearer_auth(&caller.token),
    )
    .await
}

/// Enables or disables the delivery of new orders from the queue to order-processor.
pub(crate) async fn set_order_delivery(enabled: bool) {
    let find = "awslocal lambda list-event-source-mappings --function-name order-processor \
                --query EventSourceMappings[0].UUID --output text";
    let switch = if enabled { "--enabled" } else { "--no-enabled" };
    run_shell(
        &std::env::temp_dir(),
        &format!("awslocal lambda update-event-source-mapping --uuid $({find}) {switch}"),
    )
    .await;
    let wanted = if enabled { "Enabled" } else { "Disabled" };
    eventually("the event source mapping to change", async || {
        let state = "awslocal lambda list-event-source-mappings --function-name order-processor \
                     --query EventSourceMappings[0].State --output text";
        (run_shell(&std::env::temp_dir(), state).await.trim() == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pending_order_can_be_cancelled_and_releases_its_stock() {
    let system = TestSystem::exclusive().await;
    system.capture_events().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    set_order_delivery(false).await;
    let order_id = system.place_order(&customer, &lantern, 2, "pm_card_visa").await;

    let (first, again) = (
        cancel_order(&system, &customer, order_id).await,
        cancel_order(&system, &customer, order_id).await,
    );
    // Enable the delivery before the assertions, because other tests need it even when this test fails.
    set_order_delivery(true).await;
    let cancelled = first.expect_status(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(
        again.expect_status(200),
        cancelled,
        "cancelling again returns the same response"
    );

    // The saga still starts, detects the cancellation before the payment, and releases the stock.
    let expected = ["OrderCreated", "OrderCancelled", "StockReserved", "StockReleased"];
    system.wait_for_events(order_id.0, &expected).await;
    let order = system.get_order(&customer, order_id).await.expect_status(200);
    assert_eq!(status_history(&order), ["pending", "cancelled"]);
    assert_eq!(system.stock_quantities(&lantern).await, (10, 0));
    let is_charged = |payment: &Value| payment["status"] == "succeeded";
    assert!(!system.payments(order_id).await.iter().any(is_charged));
}

#[tokio::test]
async fn completed_order_cannot_be_cancelled() {
    let system = TestSystem::shared().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
    assert_eq!(
        cancel_order(&system, &customer, order_id)
            .await
            .expect_problem(409),
        "too-late-to-cancel"
    );
    assert_eq!(
        system.get_order(&customer, order_id).await.expect_status(200)["status"],
        "completed"
    );
}

#[tokio::test]
async fn order_cannot_be_cancelled_during_its_payment() {
    let system = TestSystem::shared().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_slow").await;
    eventually("the payment to start", async || {
        let order = system.get_order(&customer, order_id).await.expect_status(200);
        (order["status"] == "processing").then_some(())
    })
    .await;
    assert_eq!(
        cancel_order(&system, &customer, order_id)
            .await
            .expect_problem(409),
        "too-late-to-cancel"
    );
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
}

#[tokio::test]
async fn another_customers_order_is_not_found() {
    let system = TestSystem::shared().await;
    let (customer, other_customer) = (system.customer().await, system.customer().await);
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    let unknown = OrderId::new(system.now());
    let for_other_order = cancel_order(&system, &other_customer, order_id).await;
    let for_unknown_order = cancel_order(&system, &other_customer, unknown).await;
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
