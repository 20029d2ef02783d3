//! Waits until the system is quiescent for some orders, and collects the snapshot that a test judges.

use std::time::Duration;

use domain::OrderId;
use e2e::consistency::{Collector, Observations, StabilityTracker, SystemSnapshot};
use tokio::time::{Instant, sleep};

use crate::failure_report::violations;

/// How long the system may take until it has sent the last mail.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The pause while work is pending. A reading covers all stores, so frequent readings would slow the work
/// down.
const BUSY_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The pause between quiescent readings: longer than the bus takes to deliver an event.
const QUIET_POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Returns the snapshot of these orders, from a reading that began after the system was quiescent for them.
///
/// The system is quiescent when every order has a mail or is parked, no saga execution of the orders that are
/// not parked runs, and no work queue or outbox has a message about the orders or `products`. Panics after
/// [`TIMEOUT`] with the pending work and the violated invariants.
pub async fn snapshot_when_quiescent(
    collector: &Collector,
    order_ids: &[OrderId],
    products: &[String],
) -> SystemSnapshot {
    let deadline = Instant::now() + TIMEOUT;
    let mut tracker = StabilityTracker::default();
    loop {
        let whole = collector.collect().await.expect("all stores are readable");
        let mut snapshot = whole.for_orders(order_ids);
        leave_out_restarts(&mut snapshot);
        let pending = pending_work(&whole, &snapshot, order_ids, products);
        if tracker.observe(pending.is_empty(), snapshot.fingerprint()) {
            return snapshot;
        }
        if Instant::now() > deadline {
            panic!(
                "not quiescent after {} s: {}\n{}",
                TIMEOUT.as_secs(),
                if pending.is_empty() {
                    "the state changed between readings".to_owned()
                } else {
                    pending.join(", ")
                },
                violations(&snapshot.check_invariants(&Observations::default()))
            );
        }
        sleep(if pending.is_empty() {
            QUIET_POLL_INTERVAL
        } else {
            BUSY_POLL_INTERVAL
        })
        .await;
    }
}

/// Removes the executions of parked orders. order-reconciler starts up to three more, minutes apart, for an
/// order that its saga has parked; such an order is waiting for an operator all the same.
fn leave_out_restarts(snapshot: &mut SystemSnapshot) {
    let parked = snapshot.parked_orders();
    let is_of_parked_order = |id: Option<OrderId>| id.is_some_and(|id| parked.contains(&id));
    snapshot
        .executions
        .retain(|execution| !is_of_parked_order(execution.order_id));
}

/// Lists the work that is pending for the orders and products. `snapshot` is the part of `whole` for the
/// orders.
fn pending_work(
    whole: &SystemSnapshot,
    snapshot: &SystemSnapshot,
    order_ids: &[OrderId],
    products: &[String],
) -> Vec<String> {
    let mut pending = Vec::new();
    let mut add = |count: usize, what: &str| {
        if count > 0 {
            pending.push(format!("{count} {what}"));
        }
    };
    add(
        snapshot.work_messages().count(),
        "messages about the orders in work queues",
    );
    let names_a_product = |body: &&String| products.iter().any(|product| body.contains(product));
    add(
        whole.work_messages().filter(names_a_product).count(),
        "messages about the products in work queues",
    );
    add(snapshot.outbox.len(), "events in outboxes");
    let is_running = |status: &str| status == "RUNNING";
    add(
        snapshot
            .executions
            .iter()
            .filter(|execution| is_running(&execution.status))
            .count(),
        "running saga executions",
    );
    let parked = snapshot.parked_orders();
    let has_mail = |id: &OrderId| snapshot.mails.iter().any(|mail| mail.order_id == Some(*id));
    add(
        order_ids
            .iter()
            .filter(|id| !parked.contains(id) && !has_mail(id))
            .count(),
        "orders without a mail",
    );
    pending
}
