//! Orders while the payment provider is slow, unavailable, or loses responses after it charged.

use serde_json::Value;

use e2e::system::{TestSystem, test_users::status_history};

/// Orders one unit and waits for the final status. Returns the order, the provider's payments, and the
/// product's quantity and reserved quantity.
async fn order_and_wait(system: &TestSystem, payment_method: &str) -> (Value, Vec<Value>, (i64, i64)) {
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, payment_method).await;
    let order = system.wait_for_final_status(&customer, order_id).await;
    (
        order,
        system.payments(order_id).await,
        system.stock_quantities(&lantern).await,
    )
}

async fn assert_completed_and_charged_once(payment_method: &str) {
    let system = TestSystem::shared();
    let (order, payments, stock) = order_and_wait(&system, payment_method).await;
    assert_eq!(order["status"], "completed");
    assert_eq!(payments.len(), 1, "{payments:?}");
    assert_eq!(
        (&payments[0]["status"], &payments[0]["amount"]),
        (&"succeeded".into(), &7500.into())
    );
    assert_eq!(
        system.refunds(payments[0]["id"].as_str().unwrap()).await,
        Vec::<Value>::new()
    );
    assert_eq!(stock, (9, 0));
}

#[tokio::test]
async fn slow_provider_only_delays_the_order() {
    assert_completed_and_charged_once("pm_slow").await;
}

#[tokio::test]
async fn error_before_the_charge_is_retried() {
    assert_completed_and_charged_once("pm_error_before_effect").await;
}

#[tokio::test]
async fn error_after_the_charge_charges_once() {
    assert_completed_and_charged_once("pm_error_after_effect").await;
}

#[tokio::test]
async fn temporarily_unavailable_provider_is_retried() {
    assert_completed_and_charged_once("pm_unavailable").await;
}

#[tokio::test]
async fn permanently_failing_provider_charges_nothing() {
    let system = TestSystem::shared();
    let (order, payments, stock) = order_and_wait(&system, "pm_broken").await;
    assert_eq!(
        (&order["status"], &order["reason"]),
        (&"failed".into(), &"internal_error".into())
    );
    assert!(
        payments.iter().all(|payment| payment["status"] == "canceled"),
        "{payments:?}"
    );
    assert_eq!(stock, (10, 0));
}

#[tokio::test]
async fn invalid_payment_method_fails_the_order_before_stock_is_reserved() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_unknown").await;
    let order = system.wait_for_final_status(&customer, order_id).await;
    assert_eq!(status_history(&order), ["pending", "failed"]);
    assert_eq!(order["reason"], "payment_declined");
    let events = system.wait_for_events(order_id.0, &["OrderFailed"]).await;
    assert!(
        events.iter().all(|event| event["detail-type"] != "StockReserved"),
        "{events:?}"
    );
    assert_eq!(system.payments(order_id).await, Vec::<Value>::new());
}
