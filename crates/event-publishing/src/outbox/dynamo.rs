//! Outbox of changes in DynamoDB: the table `ecommerce-outbox`.

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

/// Maximum writes of a BatchWriteItem call (DynamoDB limit).
const DELETES_PER_CALL: usize = 25;

/// Maximum concurrent delete calls.
const MAX_CONCURRENT_CALLS: usize = 8;

/// A DynamoDB table with the partition key `event_id`. It is nearly always empty, so a sweep scans it.
#[derive(Clone, Debug)]
pub struct DynamoOutbox {
    client: Client,
    table: String,
}

/// Stored item.
#[derive(Serialize, Deserialize)]
struct OutboxItem {
    #[serde(flatten)]
    event: OutboxEvent,
    attempts: u32,
    /// Unix milliseconds.
    next_attempt_at: i64,
}

/// Projection of an entry for the backlog metrics.
#[derive(Deserialize)]
struct EntryAge {
    occurred_at: Timestamp,
}

impl DynamoOutbox {
    /// `table` is the table's name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }

    /// Returns the write that adds `event` to the outbox, for the transaction of the change that it
    /// describes.
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

    /// Returns an event's entry, or `None` if it was already published.
    pub async fn find(&self, event_id: EventId) -> Result<Option<OutboxEvent>, OutboxError> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("event_id", key(event_id))
            .consistent_read(true)
            .send()
            .await
            .map_err(sdk_error)?;
        let item: Option<OutboxItem> = response
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
        let response = self
            .client
            .batch_write_item()
            .request_items(&self.table, deletes)
            .send()
            .await
            .map_err(sdk_error)?;
        let unprocessed = response
            .unprocessed_items
            .and_then(|mut unprocessed| unprocessed.remove(&self.table));
        match unprocessed.map_or(0, |unprocessed| unprocessed.len()) {
            0 => Ok(()),
            unprocessed => Err(OutboxError(
                format!("DynamoDB did not process {unprocessed} of the deletes").into(),
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
        // Lambda functions publish one event at a time, and their role permits DeleteItem but not
        // BatchWriteItem.
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
            // Another instance may have published and removed the entry meanwhile.
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

/// SDK errors carry their details only in the source chain.
fn sdk_error(error: impl std::error::Error + Send + Sync + 'static) -> OutboxError {
    OutboxError(DisplayErrorContext(error).to_string().into())
}
