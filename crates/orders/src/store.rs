//! The orders table, and conditional updates of an order.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Put, TransactWriteItem, Update},
};
use backon::{ExponentialBuilder, Retryable};
use domain::{Clock, OrderId, OrderStatus, Timestamp, UserId};
use dynamodb_table::{DynamoDbError, Table, write};
use event_publishing::DynamoOutbox;
use events::OutboxEvent;
use serde::Serialize;

use crate::{HistoryEntry, Order, OrderChange, PaymentStep};

/// A write that conflicts with another transaction is repeated: DynamoDB may have rejected both.
const CONFLICT_RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(5))
    .with_max_times(5)
    .with_jitter();

/// The orders. Cloning is cheap.
///
/// Everything that reads orders, or changes them without an event. Changes with an event need
/// [`OrdersWithOutbox`], and placing orders needs [`OrderPlacement`](crate::OrderPlacement).
#[derive(Clone, Debug)]
pub struct Orders {
    pub(crate) table: Table<2>,
    pub(crate) clock: Clock,
}

/// The orders, and the outbox for the events of their changes. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct OrdersWithOutbox {
    pub orders: Orders,
    pub outbox: DynamoOutbox,
}

/// Result of a conditional update.
pub(crate) enum WriteOutcome {
    Applied,
    /// A condition failed. Contains the current order, from which callers derive the reason.
    Rejected(Box<Order>),
    NotFound,
}

impl Orders {
    /// `table` is the name of a table with the keys `user_id` and `order_id`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>, clock: Clock) -> Self {
        Self {
            table: Table::new(client, table, ["user_id", "order_id"]),
            clock,
        }
    }

    /// Opens the connection to DynamoDB before the first request.
    pub async fn warm_up(&self) -> Result<(), DynamoDbError> {
        self.table.warm_up().await
    }

    /// Readiness check: fails unless the orders table can be described.
    pub async fn check(&self) -> Result<(), DynamoDbError> {
        self.table.check().await
    }

    /// Writes the update, or returns the current order if a condition failed.
    pub(crate) async fn write(&self, update: OrderUpdate) -> Result<WriteOutcome, DynamoDbError> {
        self.write_with(update, None).await
    }

    /// Writes the update and `event` atomically, or returns the current order if a condition failed.
    async fn write_with(
        &self,
        update: OrderUpdate,
        event: Option<Put>,
    ) -> Result<WriteOutcome, DynamoDbError> {
        let (user_id, order_id) = update.key;
        let update = update.into_update(&self.table)?;
        let writes: Vec<TransactWriteItem> = [TransactWriteItem::builder().update(update)]
            .into_iter()
            .chain(event.map(|event| TransactWriteItem::builder().put(event)))
            .map(|write| write.build())
            .collect();
        let written = (|| write(self.table.client(), &writes))
            .retry(CONFLICT_RETRIES)
            .when(|error| matches!(error, DynamoDbError::Conflict))
            .await;
        match written {
            Ok(()) => Ok(WriteOutcome::Applied),
            Err(DynamoDbError::ConditionsFailed(_)) => Ok(match self.find(user_id, order_id).await? {
                Some(order) => WriteOutcome::Rejected(Box::new(order)),
                None => WriteOutcome::NotFound,
            }),
            Err(error) => Err(error),
        }
    }
}

impl OrdersWithOutbox {
    /// Writes the update and its event atomically, or returns the current order if a condition failed.
    pub(crate) async fn write(
        &self,
        update: OrderUpdate,
        event: &OutboxEvent,
    ) -> Result<WriteOutcome, DynamoDbError> {
        let put = self.outbox.put(event, self.orders.clock.now())?;
        self.orders.write_with(update, Some(put)).await
    }
}

/// Builder of a conditional update of one order.
pub(crate) struct OrderUpdate {
    key: (UserId, OrderId),
    assignments: Vec<String>,
    removals: Vec<String>,
    conditions: Vec<String>,
    names: Vec<(String, String)>,
    values: Vec<(String, Result<AttributeValue, serde_dynamo::Error>)>,
}

impl OrderUpdate {
    /// Starts an update that requires the order to exist.
    pub(crate) fn for_order(user_id: UserId, order_id: OrderId) -> Self {
        Self {
            key: (user_id, order_id),
            assignments: Vec::new(),
            removals: Vec::new(),
            conditions: vec!["attribute_exists(order_id)".to_owned()],
            names: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Sets the status, requiring one of its predecessors. A final status removes the order from the
    /// open-orders index.
    pub(crate) fn transition_to(self, next: OrderStatus, at: Timestamp) -> Self {
        let mut update = self
            .require_status(next.predecessors())
            .set("status", next)
            .set("updated_at", at)
            .append_to_history(OrderChange::Status(next), at);
        if next.is_final() {
            update = update.remove("open");
        }
        update
    }

    /// Adds a step of the payment to the history.
    pub(crate) fn record_payment_step(self, step: PaymentStep, at: Timestamp) -> Self {
        self.append_to_history(OrderChange::Payment(step), at)
    }

    fn append_to_history(mut self, change: OrderChange, at: Timestamp) -> Self {
        let entry = [HistoryEntry { at, change }];
        self.names.push(("#history".to_owned(), "history".to_owned()));
        self.values
            .push((":history".to_owned(), serde_dynamo::to_attribute_value(entry)));
        self.assignments
            .push("#history = list_append(#history, :history)".to_owned());
        self
    }

    /// Requires the order to have one of these statuses.
    pub(crate) fn require_status(mut self, statuses: &[OrderStatus]) -> Self {
        let names: Vec<String> = statuses.iter().map(|status| format!(":from_{status}")).collect();
        for (name, status) in names.iter().zip(statuses) {
            self.values
                .push((name.clone(), serde_dynamo::to_attribute_value(status)));
        }
        self.names.push(("#status".to_owned(), "status".to_owned()));
        self.conditions.push(format!("#status IN ({})", names.join(", ")));
        self
    }

    /// Requires the attribute to exist.
    pub(crate) fn require_present(mut self, attribute: &str) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.conditions.push(format!("attribute_exists(#{attribute})"));
        self
    }

    /// Requires the attribute to have this value.
    pub(crate) fn require_eq(mut self, attribute: &str, value: impl Serialize) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.values.push((
            format!(":eq_{attribute}"),
            serde_dynamo::to_attribute_value(value),
        ));
        self.conditions.push(format!("#{attribute} = :eq_{attribute}"));
        self
    }

    /// Requires the attribute not to have this value.
    pub(crate) fn require_ne(mut self, attribute: &str, value: impl Serialize) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.values.push((
            format!(":ne_{attribute}"),
            serde_dynamo::to_attribute_value(value),
        ));
        self.conditions.push(format!("#{attribute} <> :ne_{attribute}"));
        self
    }

    pub(crate) fn set(mut self, attribute: &str, value: impl Serialize) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.values
            .push((format!(":{attribute}"), serde_dynamo::to_attribute_value(value)));
        self.assignments.push(format!("#{attribute} = :{attribute}"));
        self
    }

    /// Sets the attribute, unless it exists.
    pub(crate) fn set_if_absent(mut self, attribute: &str, value: impl Serialize) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.values
            .push((format!(":{attribute}"), serde_dynamo::to_attribute_value(value)));
        self.assignments.push(format!(
            "#{attribute} = if_not_exists(#{attribute}, :{attribute})"
        ));
        self
    }

    pub(crate) fn remove(mut self, attribute: &str) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.removals.push(format!("#{attribute}"));
        self
    }

    /// Ends the wait for the customer's action, if there is one.
    pub(crate) fn end_wait(self) -> Self {
        self.remove("payment_action").remove("waits_until")
    }

    fn into_update(self, table: &Table<2>) -> Result<Update, DynamoDbError> {
        let (user_id, order_id) = self.key;
        let clause = |keyword, parts: Vec<String>| match parts.is_empty() {
            true => String::new(),
            false => format!("{keyword} {} ", parts.join(", ")),
        };
        let mut update = table
            .update_write([user_id.to_string(), order_id.to_string()])
            .update_expression(clause("SET", self.assignments) + &clause("REMOVE", self.removals))
            .condition_expression(self.conditions.join(" AND "));
        for (placeholder, attribute) in self.names {
            update = update.expression_attribute_names(placeholder, attribute);
        }
        for (placeholder, value) in self.values {
            update = update.expression_attribute_values(placeholder, value?);
        }
        Ok(update
            .build()
            .expect("the update has a table, a key and an expression"))
    }
}
