//! The queue of the function `stock-push`.

use std::sync::OnceLock;

use aws_sdk_sqs::{Client, error::DisplayErrorContext, types::SendMessageBatchRequestEntry};
use events::StockPushRequest;

use super::AnnounceError;

/// Messages per call (SQS limit).
const MAX_MESSAGES: usize = 10;

/// `stock-push-queue`.
#[derive(Debug)]
pub struct StockPushQueue {
    client: Client,
    name: String,
    url: OnceLock<String>,
}

impl StockPushQueue {
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
            url: OnceLock::new(),
        }
    }

    /// Sends levels. Returns those that SQS has accepted, and the first failure.
    pub(super) async fn send(
        &mut self,
        levels: &[StockPushRequest],
    ) -> (Vec<StockPushRequest>, Result<(), AnnounceError>) {
        let mut accepted = Vec::new();
        for batch in levels.chunks(MAX_MESSAGES) {
            match self.send_batch(batch).await {
                Ok((sent, None)) => accepted.extend(sent),
                Ok((sent, Some(refused))) => {
                    accepted.extend(sent);
                    return (accepted, Err(AnnounceError::Queue(refused)));
                }
                Err(error) => {
                    // The queue may have been recreated under another URL.
                    self.url = OnceLock::new();
                    return (accepted, Err(error));
                }
            }
        }
        (accepted, Ok(()))
    }

    /// Returns the accepted levels, and why SQS refused one of the others.
    async fn send_batch(
        &self,
        levels: &[StockPushRequest],
    ) -> Result<(Vec<StockPushRequest>, Option<String>), AnnounceError> {
        let entries = levels.iter().enumerate().map(|(index, level)| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(serde_json::to_string(level).expect("the request has no map"))
                .build()
                .expect("id and body are set")
        });
        let response = self
            .client
            .send_message_batch()
            .queue_url(self.url().await?)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(queue_error)?;
        let accepted = response.successful.iter().filter_map(|entry| {
            let index: usize = entry.id.parse().ok()?;
            levels.get(index).copied()
        });
        let refused = response.failed.into_iter().next();
        Ok((accepted.collect(), refused.map(|entry| entry.code)))
    }

    async fn url(&self) -> Result<&str, AnnounceError> {
        if let Some(url) = self.url.get() {
            return Ok(url);
        }
        let found = self.client.get_queue_url().queue_name(&self.name).send().await;
        let url = found.map_err(queue_error)?.queue_url;
        let url = url.ok_or_else(|| AnnounceError::Queue("SQS returned no queue URL".to_owned()))?;
        Ok(self.url.get_or_init(|| url))
    }
}

fn queue_error(error: impl std::error::Error) -> AnnounceError {
    AnnounceError::Queue(DisplayErrorContext(error).to_string())
}
