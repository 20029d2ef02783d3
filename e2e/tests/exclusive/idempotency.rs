//! Repeating an order request with its idempotency key, because the client does not know whether it was
//! accepted.

use std::collections::BTreeSet;

use e2e::system::TestSystem;
use fault_injection::{NetworkFault, Rule, Upstream};
use futures::future::join_all;
use serde_json::json;

/// How many responses of DynamoDB are dropped: enough for all attempts of two requests.
const LOST_RESPONSES: u64 = 8;

#[tokio::test]
async fn repeated_requests_create_one_order_and_reject_a_different_body() {
    // The lost responses open core-api's circuit breaker.
    let system = TestSystem::exclusive().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order = |quantity: u32| {
        json!({
            "items": [{"product_id": lantern, "quantity": quantity}],
            "payment_method": "pm_card_visa",
        })
    };
    let rule = Rule::for_operation(
        Upstream::Aws,
        "DynamoDB.TransactWriteItems",
        NetworkFault::DropResponse,
    );
    let rule = system
        .faults
        .add_rule(&rule.containing(&customer.id).limit_hits(LOST_RESPONSES))
        .await
        .unwrap();

    let one = order(1);
    let concurrent = join_all((0..8).map(|_| system.post_order(&customer, "key", &one))).await;
    let mut ids = BTreeSet::new();
    for response in concurrent {
        match response.status.as_u16() {
            202 => {
                ids.insert(response.body["order_id"].as_str().unwrap().to_owned());
            }
            // The store was unavailable, or another attempt was in progress: the client must retry.
            status => assert!([409, 503].contains(&status), "{status} {}", response.body),
        }
    }
    assert!(system.faults.hits(rule).await.unwrap() > 0);
    system.faults.remove_rule(rule).await.unwrap();

    let different = system.post_order_with_retry(&customer, "key", &order(2)).await;
    assert_eq!(different.expect_problem(422), "idempotency-key-reused");
    let repeated = system
        .post_order_with_retry(&customer, "key", &one)
        .await
        .expect_status(202);
    ids.insert(repeated["order_id"].as_str().unwrap().to_owned());
    assert_eq!(ids.len(), 1, "{ids:?}");

    let order_id = ids.first().unwrap().parse().unwrap();
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
    assert_eq!(system.stock_quantities(&lantern).await, (9, 0));
    assert_eq!(system.payments(order_id).await.len(), 1);
}
