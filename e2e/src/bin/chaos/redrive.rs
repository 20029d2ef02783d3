//! What an operator does after an outage: puts dead letters back where they came from.

use anyhow::{Context as _, Result};
use aws_sdk_sqs::Client;

/// Where messages end that could not be dealt with, and where they are dealt with.
const QUEUES: [(&str, &str); 3] = [
    ("order-processing-dlq", "order-processing-queue"),
    ("stock-update-dlq", "stock-update-queue"),
    ("notification-dlq", "notification-queue"),
];

/// Puts every dead letter back. Returns how many there were, by the queue that they lay in.
pub async fn redrive() -> Result<Vec<(&'static str, u64)>> {
    let sqs = Client::new(&aws_client::sdk_config().await);
    let mut counts = Vec::new();
    for (dead, alive) in QUEUES {
        let (from, to) = (queue_url(&sqs, dead).await?, queue_url(&sqs, alive).await?);
        let mut count = 0;
        loop {
            let poll = sqs.receive_message().queue_url(&from).max_number_of_messages(10);
            let messages = poll.send().await?.messages.unwrap_or_default();
            if messages.is_empty() {
                break;
            }
            for message in messages {
                let again = sqs.send_message().queue_url(&to);
                again.set_message_body(message.body).send().await?;
                let delete = sqs.delete_message().queue_url(&from);
                delete.set_receipt_handle(message.receipt_handle).send().await?;
                count += 1;
            }
        }
        counts.push((dead, count));
    }
    Ok(counts)
}

async fn queue_url(sqs: &Client, queue: &str) -> Result<String> {
    let answer = sqs.get_queue_url().queue_name(queue).send().await?;
    answer.queue_url.with_context(|| format!("{queue} has no URL"))
}
