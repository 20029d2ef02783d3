//! Reading the books once it has become quiet around some orders.

use std::time::Duration;

use domain::OrderId;
use e2e::consistency::{Collector, SystemSnapshot};
use tokio::time::Instant;

/// How long it may take until the last mail has gone out.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Everything is read each time, which costs the local AWS more than what it is waited for.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The orders' books once no saga of theirs runs, no message or event of theirs waits, and every customer is told whose
/// order is not parked; or as they stand when that has taken too long. Messages about the products count as theirs.
pub async fn snapshot_when_quiescent(
    reader: &Collector,
    order_ids: &[OrderId],
    products: &[String],
) -> SystemSnapshot {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let all = reader.collect().await.expect("the books can be read");
        let books = all.for_orders(order_ids);
        let is_ours = |body: &String| products.iter().any(|product| body.contains(product));
        let waits = |books: &SystemSnapshot, is_ours: &dyn Fn(&String) -> bool| {
            let work = books.queues.iter().filter(|(name, _)| {
                !name.starts_with("e2e-") && !name.ends_with("-dlq") && !name.contains("parking")
            });
            work.flat_map(|(_, bodies)| bodies).any(is_ours)
        };
        let parked = books.parked_orders();
        let is_told =
            |id: &OrderId| parked.contains(id) || books.mails.iter().any(|mail| mail.order_id == Some(*id));
        let is_quiet = !waits(&books, &|_| true)
            && !waits(&all, &is_ours)
            && books.outbox.is_empty()
            && books
                .executions
                .iter()
                .all(|execution| execution.status != "RUNNING")
            && order_ids.iter().all(is_told);
        if is_quiet || Instant::now() > deadline {
            return books;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
