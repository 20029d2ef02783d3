//! Cancelling an order whose saga has not started.

use e2e::system::{TestSystem, aws::run_shell, eventually, test_users::status_history};
use serde_json::Value;

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
        system.cancel_order(&customer, order_id).await,
        system.cancel_order(&customer, order_id).await,
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
