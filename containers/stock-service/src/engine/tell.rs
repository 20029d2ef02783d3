//! Handing events to the relay a few batches at a time: its calls then are full, and its deletes few.

use std::time::Duration;

use bus::RelayHandle;
use events::Outgoing;
use tokio::sync::mpsc;

/// How long the first event waits for others.
const TOGETHER_WITHIN: Duration = Duration::from_millis(10);

/// Hands events over until nobody can tell any, and then the last of them.
pub(super) async fn run(mut told: mpsc::UnboundedReceiver<Vec<Outgoing>>, relay: RelayHandle) {
    while let Some(mut events) = told.recv().await {
        tokio::time::sleep(TOGETHER_WITHIN).await;
        while let Ok(more) = told.try_recv() {
            events.extend(more);
        }
        relay.hand_over(events);
    }
}
