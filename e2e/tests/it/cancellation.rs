//! Taking an order back while that is possible.

use domain::OrderId;
use reqwest::Method;
use serde_json::Value;

use e2e::system::{
    ApiCaller, ApiResponse, TestSystem, aws::run_shell, eventually, send, test_users::status_history,
};

async fn cancel_order(system: &TestSystem, person: &ApiCaller, order_id: OrderId) -> ApiResponse {
    let path = format!("/v1/orders/{order_id}/cancel");
    send(
        system
            .core_api_request(Method::POST, &path)
            .bearer_auth(&person.token),
    )
    .await
}

/// Stops or starts the delivery of new orders to the saga.
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
async fn an_order_that_waits_can_be_cancelled_and_takes_nothing() {
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
    // Before anything can fail: the other tests want their orders delivered.
    set_order_delivery(true).await;
    let cancelled = first.expect_status(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(
        again.expect_status(200),
        cancelled,
        "who asks again is told the same"
    );

    // The saga starts all the same, finds out at the payment, and gives the stock back.
    let expected = ["OrderCreated", "OrderCancelled", "StockReserved", "StockReleased"];
    system.wait_for_events(order_id.0, &expected).await;
    let order = system.get_order(&customer, order_id).await.expect_status(200);
    assert_eq!(status_history(&order), ["pending", "cancelled"]);
    assert_eq!(system.stock_quantities(&lantern).await, (10, 0));
    let taken = |payment: &Value| payment["status"] == "succeeded";
    assert!(!system.payments(order_id).await.iter().any(taken));
}

#[tokio::test]
async fn an_order_that_has_ended_cannot_be_cancelled() {
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
async fn an_order_that_is_being_paid_cannot_be_cancelled() {
    let system = TestSystem::shared().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_slow").await;
    eventually("the payment to begin", async || {
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
async fn nobody_cancels_anothers_order() {
    let system = TestSystem::shared().await;
    let (customer, other) = (system.customer().await, system.customer().await);
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    let unknown = OrderId::new(system.now());
    let of_another = cancel_order(&system, &other, order_id).await;
    let of_nobody = cancel_order(&system, &other, unknown).await;
    assert_eq!(of_another.body, of_nobody.body, "not even its existence shows");
    assert_eq!(of_another.expect_problem(404), "not-found");
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
}
