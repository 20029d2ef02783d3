//! The outbox of changes in DynamoDB: the table `ecommerce-outbox`.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, DisplayErrorContext},
    types::{AttributeValue, DeleteRequest, Put, WriteRequest},
};
use domain::{EventId, Timestamp};
use events::OutboxEvent;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{Backlog, Outbox, OutboxEntry, OutboxError, RELAY_DELAY};

/// BatchWriteItem takes at most 25 writes.
const DELETES_PER_CALL: usize = 25;

/// How many calls that take entries out are under way at once.
const MAX_CONCURRENT_CALLS: usize = 8;

/// A DynamoDB table with the partition key `event_id`. It is empty on a quiet day, so sweeping it is a scan.
#[derive(Clone, Debug)]
pub struct DynamoOutbox {
    client: Client,
    table: String,
}

/// An entry as it is stored.
#[derive(Serialize, Deserialize)]
struct OutboxItem {
    #[serde(flatten)]
    event: OutboxEvent,
    attempts: u32,
    /// Milliseconds since 1970.
    next_attempt_at: i64,
}

/// What of an entry tells how long it has waited.
#[derive(Deserialize)]
struct EntryAge {
    occurred_at: Timestamp,
}

impl DynamoOutbox {
    /// The outbox in the table named `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }

    /// The write that puts `event` into the outbox, for the transaction of the change that it tells of.
    pub fn put(&self, event: &OutboxEvent, now: Timestamp) -> Result<Put, OutboxError> {
        let item = OutboxItem {
            event: event.clone(),
            attempts: 0,
            next_attempt_at: (now + RELAY_DELAY).timestamp_millis(),
        };
        let item = serde_dynamo::to_item(item).map_err(outbox_error)?;
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .build()
            .map_err(|error: BuildError| outbox_error(error))
    }

    /// The entry of one event; none when it has left already.
    pub async fn find(&self, event_id: EventId) -> Result<Option<OutboxEvent>, OutboxError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("event_id", key(event_id))
            .consistent_read(true)
            .send()
            .await
            .map_err(sdk_error)?;
        let item: Option<OutboxItem> = answer
            .item
            .map(serde_dynamo::from_item)
            .transpose()
            .map_err(outbox_error)?;
        Ok(item.map(|item| item.event))
    }

    async fn remove_one(&self, event_id: EventId) -> Result<(), OutboxError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("event_id", key(event_id))
            .send()
            .await;
        deleted.map(drop).map_err(sdk_error)
    }

    async fn remove_chunk(&self, chunk: &[EventId]) -> Result<(), OutboxError> {
        let deletes: Vec<WriteRequest> = chunk
            .iter()
            .map(|event_id| {
                let delete = DeleteRequest::builder().key("event_id", key(*event_id)).build()?;
                Ok(WriteRequest::builder().delete_request(delete).build())
            })
            .collect::<Result<_, BuildError>>()
            .map_err(outbox_error)?;
        let answer = self
            .client
            .batch_write_item()
            .request_items(&self.table, deletes)
            .send()
            .await
            .map_err(sdk_error)?;
        let left = answer
            .unprocessed_items
            .and_then(|mut left| left.remove(&self.table));
        match left.map_or(0, |left| left.len()) {
            0 => Ok(()),
            left => Err(OutboxError(
                format!("{left} entries could not be taken out just now").into(),
            )),
        }
    }
}

#[async_trait]
impl Outbox for DynamoOutbox {
    fn store(&self) -> &'static str {
        "dynamodb"
    }

    async fn fetch_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>, OutboxError> {
        let mut due = Vec::new();
        let mut start: Option<HashMap<String, AttributeValue>> = None;
        loop {
            let page = self
                .client
                .scan()
                .table_name(&self.table)
                .filter_expression("next_attempt_at <= :now")
                .expression_attribute_values(":now", AttributeValue::N(now.timestamp_millis().to_string()))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(sdk_error)?;
            let items: Vec<OutboxItem> =
                serde_dynamo::from_items(page.items.unwrap_or_default()).map_err(outbox_error)?;
            due.extend(items.into_iter().map(|item| OutboxEntry {
                event: item.event,
                attempts: item.attempts,
            }));
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() || due.len() >= limit as usize {
                break;
            }
        }
        // UUIDv7 sorts by time.
        due.sort_by_key(|entry| entry.event.event_id);
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn remove(&self, published: &[EventId]) -> Result<(), OutboxError> {
        // A function publishes one at a time, and may delete one at a time and nothing else.
        if let [event_id] = published {
            return self.remove_one(*event_id).await;
        }
        let calls: Vec<_> = published
            .chunks(DELETES_PER_CALL)
            .map(|chunk| self.remove_chunk(chunk))
            .collect();
        let mut removed = stream::iter(calls).buffer_unordered(MAX_CONCURRENT_CALLS);
        while let Some(outcome) = removed.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn retry_at(&self, entry: &OutboxEntry, at: Timestamp) -> Result<(), OutboxError> {
        let item = OutboxItem {
            event: entry.event.clone(),
            attempts: entry.attempts,
            next_attempt_at: at.timestamp_millis(),
        };
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(serde_dynamo::to_item(item).map_err(outbox_error)?))
            // Another instance may have published it meanwhile: then it stays gone.
            .condition_expression("attribute_exists(event_id)")
            .send()
            .await;
        match written.map_err(aws_sdk_dynamodb::Error::from) {
            Ok(_) | Err(aws_sdk_dynamodb::Error::ConditionalCheckFailedException(_)) => Ok(()),
            Err(error) => Err(sdk_error(error)),
        }
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        let mut backlog = Backlog::default();
        let mut pages = self
            .client
            .scan()
            .table_name(&self.table)
            .projection_expression("occurred_at")
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let items = page.map_err(sdk_error)?.items.unwrap_or_default();
            let ages: Vec<EntryAge> = serde_dynamo::from_items(items).map_err(outbox_error)?;
            backlog.entries += ages.len() as u64;
            let oldest = ages.into_iter().map(|age| age.occurred_at);
            backlog.oldest = backlog.oldest.into_iter().chain(oldest).min();
        }
        Ok(backlog)
    }
}

fn key(event_id: EventId) -> AttributeValue {
    AttributeValue::S(event_id.to_string())
}

fn outbox_error(error: impl std::error::Error + Send + Sync + 'static) -> OutboxError {
    OutboxError(Box::new(error))
}

/// The SDK's errors tell what happened only along their source chain.
fn sdk_error(error: impl std::error::Error + Send + Sync + 'static) -> OutboxError {
    OutboxError(DisplayErrorContext(error).to_string().into())
}
