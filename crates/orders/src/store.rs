//! The tables, and the one way in which an order changes.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Put, TransactWriteItem, Update},
};
use domain::{Clock, OrderId, OrderStatus, Timestamp, UserId};
use event_publishing::DynamoOutbox;
use events::OutboxEvent;
use serde::Serialize;

use crate::{Order, StatusChange, StoreError, error::WriteRejection};

/// How often a write is tried again that met another transaction at the same item.
const MAX_CONFLICT_ATTEMPTS: u32 = 5;

/// The names of the tables.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Orders: `user_id`, `order_id`.
    pub orders: String,
    /// Events on their way: `event_id`.
    pub outbox: String,
    /// What has been done under which key: `id`.
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
    /// The order store in these tables.
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

    /// The outbox that the store's events wait in.
    #[must_use]
    pub fn outbox(&self) -> &DynamoOutbox {
        &self.outbox
    }

    /// Writes the change and the event that tells of it, both or neither.
    pub(crate) async fn write(
        &self,
        change: OrderUpdate,
        event: Option<&OutboxEvent>,
    ) -> Result<(), WriteRejection> {
        let at = self.clock.now();
        let update = change
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
                // Both sides of a conflict may lose; the one that comes again finds the other's result.
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

    /// One item's write is whole by itself, and costs half of a transaction's.
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

/// A change to one order, under a condition.
pub(crate) struct OrderUpdate {
    key: (UserId, OrderId),
    assignments: Vec<String>,
    removals: Vec<String>,
    conditions: Vec<String>,
    names: Vec<(String, String)>,
    values: Vec<(String, Result<AttributeValue, serde_dynamo::Error>)>,
}

impl OrderUpdate {
    /// A change to an order that exists.
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

    /// To another status, from one of those that may become it. An order that ends is open no more.
    pub(crate) fn transition_to(self, next: OrderStatus, at: Timestamp) -> Self {
        let entry = [StatusChange { status: next, at }];
        let mut change = self
            .require_status(next.predecessors())
            .set("status", next)
            .set("updated_at", at);
        change.names.push(("#history".to_owned(), "history".to_owned()));
        change
            .values
            .push((":history".to_owned(), serde_dynamo::to_attribute_value(entry)));
        change
            .assignments
            .push("#history = list_append(#history, :history)".to_owned());
        if next.is_final() {
            change = change.remove("open");
        }
        change
    }

    /// Only when the order is in one of these statuses.
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

    /// Only when this attribute has this value.
    pub(crate) fn require_eq(mut self, attribute: &str, value: impl Serialize) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.values.push((
            format!(":if_{attribute}"),
            serde_dynamo::to_attribute_value(value),
        ));
        self.conditions.push(format!("#{attribute} = :if_{attribute}"));
        self
    }

    /// Only when this attribute does not have this value.
    pub(crate) fn require_ne(mut self, attribute: &str, value: impl Serialize) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.values.push((
            format!(":unless_{attribute}"),
            serde_dynamo::to_attribute_value(value),
        ));
        self.conditions
            .push(format!("#{attribute} <> :unless_{attribute}"));
        self
    }

    /// Sets an attribute.
    pub(crate) fn set(mut self, attribute: &str, value: impl Serialize) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.values
            .push((format!(":{attribute}"), serde_dynamo::to_attribute_value(value)));
        self.assignments.push(format!("#{attribute} = :{attribute}"));
        self
    }

    /// Removes an attribute.
    pub(crate) fn remove(mut self, attribute: &str) -> Self {
        self.names.push((format!("#{attribute}"), attribute.to_owned()));
        self.removals.push(format!("#{attribute}"));
        self
    }

    fn into_update(self, table: &str) -> Result<Update, StoreError> {
        let (user_id, order_id) = self.key;
        let clause = |word, parts: Vec<String>| match parts.is_empty() {
            true => String::new(),
            false => format!("{word} {} ", parts.join(", ")),
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

/// What the item looked like is what tells why a condition was broken.
pub(crate) enum WriteOutcome {
    /// The change was written.
    Applied,
    /// The order as it is, which does not permit the change.
    Rejected(Box<Order>),
    /// There is no such order.
    NotFound,
}

impl Orders {
    /// Writes the change, or tells how the order stands that does not permit it.
    pub(crate) async fn try_write(
        &self,
        key: (UserId, OrderId),
        change: OrderUpdate,
        event: Option<&OutboxEvent>,
    ) -> Result<WriteOutcome, StoreError> {
        match self.write(change, event).await {
            Ok(()) => Ok(WriteOutcome::Applied),
            Err(WriteRejection::ConditionsFailed(_)) => Ok(match self.find(key.0, key.1).await? {
                Some(order) => WriteOutcome::Rejected(Box::new(order)),
                None => WriteOutcome::NotFound,
            }),
            Err(WriteRejection::Conflict) => Err(StoreError::Unavailable(
                "other transactions stayed at the same order".to_owned(),
            )),
            Err(WriteRejection::Failed(error)) => Err(error),
        }
    }
}
