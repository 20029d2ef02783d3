//! The DynamoDB tables, and conditional updates of an order.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Put, TransactWriteItem, Update},
};
use domain::{Clock, OrderId, OrderStatus, Timestamp, UserId};
use event_publishing::DynamoOutbox;
use events::OutboxEvent;
use serde::Serialize;

use crate::{HistoryEntry, Order, OrderChange, PaymentStep, StoreError, error::WriteRejection};

/// Maximum attempts of a write that conflicts with another transaction.
const MAX_CONFLICT_ATTEMPTS: u32 = 5;

/// Table names.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Orders: keys `user_id` and `order_id`.
    pub orders: String,
    /// Outbox: key `event_id`.
    pub outbox: String,
    /// Idempotency store: key `id`.
    pub idempotency: String,
}

/// The order store. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Orders {
    pub(crate) client: Client,
    pub(crate) tables: Tables,
    pub(crate) outbox: DynamoOutbox,
    pub(crate) clock: Clock,
}

impl Orders {
    #[must_use]
    pub fn new(client: Client, tables: Tables, clock: Clock) -> Self {
        let outbox = DynamoOutbox::new(client.clone(), &tables.outbox);
        Self {
            client,
            tables,
            outbox,
            clock,
        }
    }

    /// The outbox to which the store writes its events.
    #[must_use]
    pub fn outbox(&self) -> &DynamoOutbox {
        &self.outbox
    }

    /// Writes the update and its event atomically.
    pub(crate) async fn write(
        &self,
        update: OrderUpdate,
        event: Option<&OutboxEvent>,
    ) -> Result<(), WriteRejection> {
        let at = self.clock.now();
        let update = update
            .into_update(&self.tables.orders)
            .map_err(WriteRejection::Failed)?;
        let put = event
            .map(|event| self.outbox.put(event, at))
            .transpose()
            .map_err(|error| WriteRejection::Failed(error.into()))?;
        let mut attempt = 1;
        loop {
            let sent = match &put {
                Some(put) => self.transact(&update, put).await,
                None => self.update(&update).await,
            };
            match sent {
                // In a conflict both transactions may be rejected, so a retry is needed.
                Err(WriteRejection::Conflict) if attempt < MAX_CONFLICT_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn transact(&self, update: &Update, put: &Put) -> Result<(), WriteRejection> {
        let sent = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().update(update.clone()).build())
            .transact_items(TransactWriteItem::builder().put(put.clone()).build())
            .send()
            .await;
        sent.map(drop).map_err(WriteRejection::from)
    }

    /// A single-item update is atomic without a transaction and costs half as much.
    async fn update(&self, update: &Update) -> Result<(), WriteRejection> {
        let sent = self
            .client
            .update_item()
            .table_name(update.table_name())
            .set_key(Some(update.key().clone()))
            .update_expression(update.update_expression())
            .set_condition_expression(update.condition_expression().map(str::to_owned))
            .set_expression_attribute_names(update.expression_attribute_names().cloned())
            .set_expression_attribute_values(update.expression_attribute_values().cloned())
            .send()
            .await;
        sent.map(drop).map_err(WriteRejection::from)
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

    fn into_update(self, table: &str) -> Result<Update, StoreError> {
        let (user_id, order_id) = self.key;
        let clause = |keyword, parts: Vec<String>| match parts.is_empty() {
            true => String::new(),
            false => format!("{keyword} {} ", parts.join(", ")),
        };
        let mut update = Update::builder()
            .table_name(table)
            .key("user_id", AttributeValue::S(user_id.to_string()))
            .key("order_id", AttributeValue::S(order_id.to_string()))
            .update_expression(clause("SET", self.assignments) + &clause("REMOVE", self.removals))
            .condition_expression(self.conditions.join(" AND "));
        for (placeholder, attribute) in self.names {
            update = update.expression_attribute_names(placeholder, attribute);
        }
        for (placeholder, value) in self.values {
            update = update.expression_attribute_values(placeholder, value?);
        }
        update.build().map_err(StoreError::from_sdk)
    }
}

/// Result of a conditional update.
pub(crate) enum WriteOutcome {
    Applied,
    /// A condition failed. Contains the current order, from which callers derive the reason.
    Rejected(Box<Order>),
    NotFound,
}

impl Orders {
    /// Writes the update, or returns the current order if a condition failed.
    pub(crate) async fn try_write(
        &self,
        key: (UserId, OrderId),
        update: OrderUpdate,
        event: Option<&OutboxEvent>,
    ) -> Result<WriteOutcome, StoreError> {
        match self.write(update, event).await {
            Ok(()) => Ok(WriteOutcome::Applied),
            Err(WriteRejection::ConditionsFailed(_)) => Ok(match self.find(key.0, key.1).await? {
                Some(order) => WriteOutcome::Rejected(Box::new(order)),
                None => WriteOutcome::NotFound,
            }),
            Err(WriteRejection::Conflict) => Err(StoreError::Unavailable(
                "too many conflicting transactions on the same order".to_owned(),
            )),
            Err(WriteRejection::Failed(error)) => Err(error),
        }
    }
}
