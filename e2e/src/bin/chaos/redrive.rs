//! Moves messages from the dead-letter queues back to their source queues, as an operator does after an
//! outage.

use anyhow::{Context as _, Result};
use aws_sdk_sqs::Client;

/// Dead-letter queues and their source queues.
const QUEUES: [(&str, &str); 7] = [
    ("order-processing-dlq", "order-processing-queue"),
    ("stock-update-dlq", "stock-update-queue"),
    ("notification-dlq", "notification-queue"),
    ("sms-dlq", "sms-queue"),
    ("receipt-dlq", "receipt-queue"),
    ("status-push-dlq", "status-push-queue"),
    ("stock-push-dlq", "stock-push-queue"),
];

/// Redrives all messages. Returns the number of moved messages by dead-letter queue.
pub async fn redrive() -> Result<Vec<(&'static str, u64)>> {
    let sqs = Client::new(&aws_client::sdk_config().await);
    let mut counts = Vec::new();
    for (dlq, source) in QUEUES {
        let (from, to) = (queue_url(&sqs, dlq).await?, queue_url(&sqs, source).await?);
        let mut count = 0;
        loop {
            let receive = sqs.receive_message().queue_url(&from).max_number_of_messages(10);
            // SQS returns no list instead of an empty one.
            let messages = receive.send().await?.messages.unwrap_or_default();
            if messages.is_empty() {
                break;
            }
            for message in messages {
                let send = sqs.send_message().queue_url(&to);
                send.set_message_body(message.body).send().await?;
                let delete = sqs.delete_message().queue_url(&from);
                delete.set_receipt_handle(message.receipt_handle).send().await?;
                count += 1;
            }
        }
        counts.push((dlq, count));
    }
    Ok(counts)
}

async fn queue_url(sqs: &Client, queue: &str) -> Result<String> {
    let response = sqs.get_queue_url().queue_name(queue).send().await?;
    response
        .queue_url
        .with_context(|| format!("GetQueueUrl returned no URL for queue {queue}"))
}
