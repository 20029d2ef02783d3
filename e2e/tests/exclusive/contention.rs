//! Many concurrent orders for one scarce product.

use futures::future::join_all;
use serde_json::{Value, json};

use e2e::system::{TestSystem, eventually};

// Test systems shorten Step Functions' waits to a twentieth, so a throttled step runs out of retries after
// seconds instead of minutes. With more buyers, orders would fail by throttling instead of missing stock. The
// load spike benchmark has a thousand buyers.
const BUYERS: usize = 60;
const STOCK: i64 = 15;

#[tokio::test]
async fn concurrent_orders_sell_exactly_the_available_stock() {
    // This many concurrent sagas use a small machine fully.
    let system = TestSystem::exclusive().await;
    let lantern = system.create_product(1000, STOCK).await;

    let outcomes = join_all((0..BUYERS).map(async |buyer| {
        let customer = system.customer().await;
        let line = json!({"product_id": lantern, "quantity": 1});
        // Every fifth buyer orders two units, on two lines.
        let quantity = if buyer % 5 == 0 { 2 } else { 1 };
        let body = json!({"items": vec![line; quantity], "payment_method": "pm_card_visa"});
        // On 503 the client repeats the request with the same key.
        let accepted = eventually("an accepted order", async || {
            let response = system.post_order(&customer, "one", &body).await;
            (response.status != 503).then_some(response)
        })
        .await
        .expect_status(202);
        let order_id = accepted["order_id"].as_str().unwrap().parse().unwrap();
        let order = system.wait_for_final_status(&customer, order_id).await;
        (order_id, order, i64::try_from(quantity).unwrap())
    }))
    .await;

    let (completed, failed): (Vec<_>, Vec<_>) = outcomes
        .into_iter()
        .partition(|(_, order, _)| order["status"] == "completed");
    let sold: i64 = completed.iter().map(|(_, _, quantity)| quantity).sum();
    assert_eq!(sold, STOCK, "single-unit orders must use up the last unit");
    assert!(
        failed
            .iter()
            .all(|(_, order, _)| order["reason"] == "insufficient_stock"),
        "{failed:?}"
    );
    assert_eq!(system.stock_quantities(&lantern).await, (0, 0));

    // The provider charged each completed order its total, once, and no failed order.
    for (order_id, order, quantity) in completed {
        let payments = system.payments(order_id).await;
        let charges: Vec<&Value> = payments
            .iter()
            .filter(|payment| payment["status"] == "succeeded")
            .collect();
        assert_eq!(charges.len(), 1, "{order}");
        assert_eq!(charges[0]["amount"], 1000 * quantity);
    }
    for (order_id, ..) in failed {
        system.assert_payments_cancelled(order_id).await;
    }
}
