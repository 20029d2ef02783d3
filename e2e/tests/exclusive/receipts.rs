//! Each completed order has exactly one receipt, whatever happens to the function that writes it.

use domain::OrderId;
use e2e::{
    consistency::Collector,
    system::{TestSystem, eventually},
};
use fault_injection::{FunctionFault, NetworkFault, Rule, Upstream};

use crate::await_quiescence::snapshot_when_quiescent;

/// The faults of receipt-writer.
const FUNCTION_FAULTS: [FunctionFault; 8] = [
    FunctionFault::ErrorBefore,
    FunctionFault::ErrorAfter,
    FunctionFault::TimeoutAfter,
    FunctionFault::DuplicateConcurrent,
    FunctionFault::DuplicateSequential,
    FunctionFault::CrashBefore,
    FunctionFault::CrashDuring(20),
    FunctionFault::CrashAfter,
];

/// The faults of its request to S3.
const REQUEST_FAULTS: [NetworkFault; 4] = [
    NetworkFault::Refuse,
    NetworkFault::Disconnect,
    NetworkFault::DropResponse,
    NetworkFault::Duplicate,
];

#[tokio::test]
async fn receipt_is_written_once_under_every_fault() {
    let system = TestSystem::exclusive().await;
    let collector = Collector::from_env().await.unwrap();
    let function_faults = FUNCTION_FAULTS.map(|fault| Rule::for_function("receipt-writer", fault));
    let request_faults =
        REQUEST_FAULTS.map(|fault| Rule::for_operation(Upstream::Aws, "S3.PutObject", fault));
    let mut orders = Vec::new();
    // One after another: a request to S3 does not name the customer, whom a rule could select.
    for rule in function_faults.into_iter().chain(request_faults) {
        let customer = system.customer().await;
        let product = system.create_product(500, 1).await;
        let name = format!("{:?}", rule.target);
        let rule = system.faults.add_rule(&rule.limit_hits(1)).await.unwrap();
        let order_id = system.place_order(&customer, &product, 1, "pm_card_visa").await;
        let order = system.wait_for_final_status(&customer, order_id).await;
        assert_eq!(order["status"], "completed", "{name}");
        eventually(&name, async || {
            (system.faults.hits(rule).await.unwrap() == 1).then_some(())
        })
        .await;
        system.faults.remove_rule(rule).await.unwrap();
        orders.push((order_id, customer, name));
    }

    let order_ids: Vec<OrderId> = orders.iter().map(|(order_id, ..)| *order_id).collect();
    snapshot_when_quiescent(&collector, &order_ids, &[]).await;
    for (order_id, customer, name) in orders {
        system.wait_for_receipt(&customer, order_id).await;
        let versions = system.receipt_versions(order_id).await;
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}
