//! Handing events to the relay a few batches at a time: its calls then are full, and its deletes few.

use std::time::Duration;

use event_publishing::RelayHandle;
use events::OutboxEvent;
use tokio::sync::mpsc;

/// How long the first event waits for others.
const COALESCE_WINDOW: Duration = Duration::from_millis(10);

/// Hands events over until nobody can tell any, and then the last of them.
pub(super) async fn run(mut told: mpsc::UnboundedReceiver<Vec<OutboxEvent>>, relay: RelayHandle) {
    while let Some(mut events) = told.recv().await {
        tokio::time::sleep(COALESCE_WINDOW).await;
        while let Ok(more) = told.try_recv() {
            events.extend(more);
        }
        relay.notify_committed(events);
    }
}
