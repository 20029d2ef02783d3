//! Outbox of changes in DynamoDB: the table `ecommerce-outbox`.

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    types::{DeleteRequest, Put, WriteRequest},
};
use domain::{EventId, Timestamp};
use dynamodb_table::{DynamoDbError, Table, applied, number};
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
    table: Table<1>,
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
            table: Table::new(client, table, ["event_id"]),
        }
    }

    /// Returns the write that adds `event` to the outbox, for the transaction of the change that it
    /// describes.
    pub fn put(&self, event: &OutboxEvent, now: Timestamp) -> Result<Put, DynamoDbError> {
        let item = OutboxItem {
            event: event.clone(),
            attempts: 0,
            next_attempt_at: (now + RELAY_DELAY).timestamp_millis(),
        };
        let put = self.table.put_write(&item)?;
        Ok(put.build().expect("the write has a table and an item"))
    }

    /// Returns an event's entry, or `None` if it was already published.
    pub async fn find(&self, event_id: EventId) -> Result<Option<OutboxEvent>, OutboxError> {
        let item: Option<OutboxItem> = self.table.get([event_id.to_string()]).await?;
        Ok(item.map(|item| item.event))
    }

    async fn remove_chunk(&self, chunk: &[EventId]) -> Result<(), OutboxError> {
        let deletes: Vec<WriteRequest> = chunk
            .iter()
            .map(|event_id| {
                let key = self.table.key([event_id.to_string()]);
                let delete = DeleteRequest::builder().set_key(Some(key)).build();
                WriteRequest::builder()
                    .delete_request(delete.expect("the request has a key"))
                    .build()
            })
            .collect();
        let request = self.table.client().batch_write_item();
        let response = request
            .request_items(self.table.name(), deletes)
            .send()
            .await
            .map_err(DynamoDbError::from)?;
        let unprocessed = response
            .unprocessed_items
            .and_then(|mut unprocessed| unprocessed.remove(self.table.name()));
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
        let scan = self
            .table
            .start_scan()
            .filter_expression("next_attempt_at <= :now")
            .expression_attribute_values(":now", number(now.timestamp_millis()));
        let mut pages = scan.into_paginator().send();
        let mut due = Vec::new();
        while due.len() < limit as usize
            && let Some(page) = pages.next().await
        {
            let items = page.map_err(DynamoDbError::from)?.items.unwrap_or_default();
            let items: Vec<OutboxItem> = serde_dynamo::from_items(items).map_err(DynamoDbError::from)?;
            due.extend(items.into_iter().map(|item| OutboxEntry {
                event: item.event,
                attempts: item.attempts,
            }));
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
            return Ok(self.table.delete([event_id.to_string()]).await?);
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
        let put = self
            .table
            .start_put(&item)?
            // Another instance may have published and removed the entry meanwhile.
            .condition_expression("attribute_exists(event_id)");
        applied(put.send().await)?;
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        let mut backlog = Backlog::default();
        let scan = self.table.start_scan().projection_expression("occurred_at");
        let mut pages = scan.into_paginator().send();
        while let Some(page) = pages.next().await {
            let items = page.map_err(DynamoDbError::from)?.items.unwrap_or_default();
            let ages: Vec<EntryAge> = serde_dynamo::from_items(items).map_err(DynamoDbError::from)?;
            backlog.entries += ages.len() as u64;
            let oldest = ages.into_iter().map(|age| age.occurred_at);
            backlog.oldest = backlog.oldest.into_iter().chain(oldest).min();
        }
        Ok(backlog)
    }
}

impl From<DynamoDbError> for OutboxError {
    fn from(error: DynamoDbError) -> Self {
        Self(error.into())
    }
}
