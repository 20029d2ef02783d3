//! Collects the events of several batches for the relay, which then makes fuller PutEvents calls and fewer
//! deletes.

use std::time::Duration;

use event_publishing::RelayHandle;
use events::OutboxEvent;
use tokio::sync::mpsc;

/// How long the first event waits for more.
const COALESCE_WINDOW: Duration = Duration::from_millis(10);

/// Forwards events to the relay until the channel is closed and empty.
pub(super) async fn run(mut committed: mpsc::UnboundedReceiver<Vec<OutboxEvent>>, relay: RelayHandle) {
    while let Some(mut events) = committed.recv().await {
        tokio::time::sleep(COALESCE_WINDOW).await;
        while let Ok(more) = committed.try_recv() {
            events.extend(more);
        }
        relay.notify_committed(events);
    }
}
