//! Taking an order back while that is possible.

use domain::OrderId;
use reqwest::Method;
use serde_json::Value;

use e2e::system::{Answer, Person, System, aws::shell, eventually, people::history, send};

async fn cancel(system: &System, person: &Person, order_id: OrderId) -> Answer {
    let path = format!("/v1/orders/{order_id}/cancel");
    send(system.api(Method::POST, &path).bearer_auth(&person.token)).await
}

/// Stops or starts the delivery of new orders to the saga.
pub(crate) async fn deliver_orders(enabled: bool) {
    let find = "awslocal lambda list-event-source-mappings --function-name order-processor \
                --query EventSourceMappings[0].UUID --output text";
    let switch = if enabled { "--enabled" } else { "--no-enabled" };
    shell(
        &std::env::temp_dir(),
        &format!("awslocal lambda update-event-source-mapping --uuid $({find}) {switch}"),
    )
    .await;
    let wanted = if enabled { "Enabled" } else { "Disabled" };
    eventually("the event source mapping to change", async || {
        let state = "awslocal lambda list-event-source-mappings --function-name order-processor \
                     --query EventSourceMappings[0].State --output text";
        (shell(&std::env::temp_dir(), state).await.trim() == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_order_that_waits_can_be_cancelled_and_takes_nothing() {
    let system = System::alone().await;
    system.listen().await;
    let customer = system.customer().await;
    let lantern = system.product(7500, 10).await;
    deliver_orders(false).await;
    let order_id = system.order(&customer, &lantern, 2, "pm_card_visa").await;

    let (first, again) = (
        cancel(&system, &customer, order_id).await,
        cancel(&system, &customer, order_id).await,
    );
    // Before anything can fail: the other tests want their orders delivered.
    deliver_orders(true).await;
    let cancelled = first.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(again.expect(200), cancelled, "who asks again is told the same");

    // The saga starts all the same, finds out at the payment, and gives the stock back.
    let expected = ["OrderCreated", "OrderCancelled", "StockReserved", "StockReleased"];
    system.heard(order_id.0, &expected).await;
    let order = system.get_order(&customer, order_id).await.expect(200);
    assert_eq!(history(&order), ["pending", "cancelled"]);
    assert_eq!(system.stock(&lantern).await, (10, 0));
    let taken = |payment: &Value| payment["status"] == "succeeded";
    assert!(!system.payments(order_id).await.iter().any(taken));
}

#[tokio::test]
async fn an_order_that_has_ended_cannot_be_cancelled() {
    let system = System::shared().await;
    let customer = system.customer().await;
    let lantern = system.product(7500, 10).await;
    let order_id = system.order(&customer, &lantern, 1, "pm_card_visa").await;
    assert_eq!(system.settled(&customer, order_id).await["status"], "completed");
    assert_eq!(
        cancel(&system, &customer, order_id).await.problem(409),
        "too-late-to-cancel"
    );
    assert_eq!(
        system.get_order(&customer, order_id).await.expect(200)["status"],
        "completed"
    );
}

#[tokio::test]
async fn an_order_that_is_being_paid_cannot_be_cancelled() {
    let system = System::shared().await;
    let customer = system.customer().await;
    let lantern = system.product(7500, 10).await;
    let order_id = system.order(&customer, &lantern, 1, "pm_slow").await;
    eventually("the payment to begin", async || {
        let order = system.get_order(&customer, order_id).await.expect(200);
        (order["status"] == "processing").then_some(())
    })
    .await;
    assert_eq!(
        cancel(&system, &customer, order_id).await.problem(409),
        "too-late-to-cancel"
    );
    assert_eq!(system.settled(&customer, order_id).await["status"], "completed");
}

#[tokio::test]
async fn nobody_cancels_anothers_order() {
    let system = System::shared().await;
    let (customer, other) = (system.customer().await, system.customer().await);
    let lantern = system.product(7500, 10).await;
    let order_id = system.order(&customer, &lantern, 1, "pm_card_visa").await;
    let unknown = OrderId::new(system.now());
    let of_another = cancel(&system, &other, order_id).await;
    let of_nobody = cancel(&system, &other, unknown).await;
    assert_eq!(of_another.body, of_nobody.body, "not even its existence shows");
    assert_eq!(of_another.problem(404), "not-found");
    assert_eq!(system.settled(&customer, order_id).await["status"], "completed");
}
