//! Asks the function `status-push` to send the state of an order to its customer's devices.

use std::time::Duration;

use aws_sdk_sqs::{Client, error::DisplayErrorContext};
use events::StatusPushRequest;
use tokio::time::timeout;

use crate::SagaState;

/// How long a step waits for SQS. No payment and no order depends on it.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The queue of the function `status-push`.
#[derive(Clone, Debug)]
pub struct StatusPush {
    client: Client,
    queue_url: String,
}

impl StatusPush {
    #[must_use]
    pub fn new(client: Client, queue_url: String) -> Self {
        Self { client, queue_url }
    }

    /// Requests a push after a change of the order that has no event, or whose event arrives later. A failure
    /// is logged only: the next push sends this change as well, and a client that reads the order sees it.
    pub(crate) async fn request(&self, state: &SagaState) {
        let request = StatusPushRequest {
            order_id: state.order_id,
            user_id: state.user_id,
            traceparent: state.traceparent,
        };
        let send = self
            .client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(serde_json::to_string(&request).expect("the request has no map"))
            .send();
        let reason = match timeout(TIMEOUT, send).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => DisplayErrorContext(error).to_string(),
            Err(_elapsed) => "SQS did not respond".to_owned(),
        };
        tracing::warn!(reason, "the push of the order's state could not be requested");
    }
}
