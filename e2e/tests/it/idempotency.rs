//! An order that is sent again under its key, because nobody knows whether it was taken.

use std::collections::BTreeSet;

use e2e::system::TestSystem;
use fault_injection::{NetworkFault, Rule, Upstream};
use futures::future::join_all;
use serde_json::json;

/// How many answers of the store are lost: those to all attempts of two requests at least.
const LOST_RESPONSES: u64 = 8;

#[tokio::test]
async fn at_once_later_and_with_another_body() {
    let system = TestSystem::shared().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order = |quantity: u32| {
        json!({
            "items": [{"product_id": lantern, "quantity": quantity}],
            "payment_method": "pm_card_visa",
        })
    };
    let lost = Rule::for_operation(
        Upstream::Aws,
        "DynamoDB.TransactWriteItems",
        NetworkFault::DropResponse,
    );
    let lost = system
        .faults
        .add_rule(&lost.containing(&customer.id).limit_hits(LOST_RESPONSES))
        .await
        .unwrap();

    let one = order(1);
    let at_once = join_all((0..8).map(|_| system.post_order(&customer, "key", &one))).await;
    let mut ids = BTreeSet::new();
    for answer in at_once {
        match answer.status.as_u16() {
            202 => {
                ids.insert(answer.body["order_id"].as_str().unwrap().to_owned());
            }
            // The store could not be asked, or another attempt was under way: come again.
            status => assert!([409, 503].contains(&status), "{status} {}", answer.body),
        }
    }
    assert!(system.faults.hits(lost).await.unwrap() > 0);
    system.faults.remove_rule(lost).await.unwrap();

    let other = system.post_order_with_retry(&customer, "key", &order(2)).await;
    assert_eq!(other.expect_problem(422), "idempotency-key-reused");
    let later = system
        .post_order_with_retry(&customer, "key", &one)
        .await
        .expect_status(202);
    ids.insert(later["order_id"].as_str().unwrap().to_owned());
    assert_eq!(ids.len(), 1, "{ids:?}");

    let order_id = ids.first().unwrap().parse().unwrap();
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
    assert_eq!(system.stock_quantities(&lantern).await, (9, 0));
    assert_eq!(system.payments(order_id).await.len(), 1);
}
