//! The books of a running system: everything that is written down anywhere about its orders, and whether it adds up.
//!
//! [`Reader`] reads them, [`Reader::settled`] once nothing moves any more, and [`balance`](Books::balance) compares
//! them line by line into a [`Verdict`]. Nothing here asks the programs that wrote the books, but for the payment
//! provider, which is not ours.

mod checks;
mod collector;
mod quiescence;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use domain::{OrderId, ProductId, UserId};
use orders::Order;
use uuid::Uuid;

pub(crate) use collector::EARS;
pub use collector::{CollectError, Collector};
pub use quiescence::PendingWork;
pub use report::{Check, ConsistencyReport, Finding, Invariant, Warning};

/// Everything that is written down.
#[derive(Clone, Debug, Default)]
pub struct SystemSnapshot {
    /// The table of orders.
    pub orders: Vec<Order>,
    /// The stock of each product, and what its movements add up to.
    pub products: Vec<ProductStock>,
    /// What was set aside for whom.
    pub reservations: Vec<Reservation>,
    /// Events that have not left, in either store.
    pub outbox: Vec<OutboxEntry>,
    /// The provider's payments.
    pub payments: Vec<Payment>,
    /// Mails that were sent.
    pub mails: Vec<OrderMail>,
    /// Messages by the name of their queue.
    pub queues: BTreeMap<String, Vec<String>>,
    /// Runs of the saga.
    pub executions: Vec<SagaExecution>,
    /// What somebody who listened has heard on the bus; empty when nobody did.
    pub observed_events: Vec<ObservedEvent>,
}

/// What a client knows of one order that it sent, under one idempotency key.
#[derive(Clone, Debug)]
pub struct ClientObservation {
    /// Whose order.
    pub user_id: UserId,
    /// The key that it was sent under, however often.
    pub idempotency_key: String,
    /// Every order that an answer of 202 named. More than one is one too many.
    pub order_ids: BTreeSet<OrderId>,
}

/// A product's stock, in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductStock {
    /// Which product.
    pub id: ProductId,
    /// What was brought into the house less what was taken out: all adjustments that were applied.
    pub adjusted: i64,
    /// What committed reservations hold.
    pub committed: i64,
    /// What open reservations hold.
    pub open_reserved: i64,
    /// What stock says is in the house.
    pub quantity: i64,
    /// What stock says is set aside.
    pub reserved: i64,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its order's id.
    pub id: Uuid,
    /// `reserved`, `committed`, `released`, `expired` or `refused`.
    pub status: String,
    /// Pieces by product.
    pub quantities: Vec<(ProductId, i64)>,
}

/// An event in an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Which store's outbox.
    pub store: &'static str,
    /// The event's id.
    pub event_id: String,
    /// What happened.
    pub detail_type: String,
    /// The event's envelope.
    pub detail: String,
}

/// A payment in the provider's books, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The provider's id.
    pub id: String,
    /// The order that it was made for.
    pub order_id: Option<OrderId>,
    /// What it is for.
    pub amount: i64,
    /// Whether money was taken.
    pub charged: bool,
    /// What was given back.
    pub refunded: i64,
}

/// A mail to a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderMail {
    /// The order that it names.
    pub order_id: Option<OrderId>,
    /// What it tells.
    pub kind: MailKind,
}

/// What a mail tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailKind {
    /// The order is complete and paid.
    Completed,
    /// The order failed and nothing was charged.
    Failed,
    /// The order failed and the payment was given back.
    FailedAndRefunded,
}

/// A run of the saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaExecution {
    /// Its name.
    pub name: String,
    /// The order that the name begins with.
    pub order_id: Option<OrderId>,
    /// In Step Functions' words.
    pub status: String,
}

/// An event that was heard on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedEvent {
    /// Its business transaction: an order's id.
    pub correlation_id: Uuid,
    /// What happened.
    pub detail_type: String,
    /// The trace that it says it belongs to, in 32 hexadecimal digits.
    pub trace_id: String,
}

/// What a queue is for, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueuePurpose {
    /// Work that is to be done.
    Work,
    /// Messages that could not be dealt with, and events that could not leave.
    DeadLetterQueue,
    /// Orders that a person has to finish.
    OrderParking,
    /// Made by tests.
    TestOwned,
}

impl QueuePurpose {
    fn from_queue_name(queue: &str) -> Self {
        if queue == "order-parking-queue" {
            Self::OrderParking
        } else if queue.starts_with("e2e-") {
            Self::TestOwned
        } else if queue.ends_with("-dlq") || queue.ends_with("-parking-queue") {
            Self::DeadLetterQueue
        } else {
            Self::Work
        }
    }
}

impl SystemSnapshot {
    /// The part of the books that is about these orders alone, and about the products in them. For a system that
    /// others use at the same time.
    #[must_use]
    pub fn for_orders(&self, order_ids: &[OrderId]) -> Self {
        let wanted: BTreeSet<OrderId> = order_ids.iter().copied().collect();
        let names: Vec<String> = order_ids.iter().map(OrderId::to_string).collect();
        let is_named = |text: &str| names.iter().any(|name| text.contains(name));
        let is_wanted = |id: Option<OrderId>| id.is_some_and(|id| wanted.contains(&id));
        let mut books = self.clone();
        books.orders.retain(|order| wanted.contains(&order.order_id));
        books
            .reservations
            .retain(|held| is_wanted(Some(OrderId(held.id))));
        let products: BTreeSet<ProductId> = books
            .orders
            .iter()
            .flat_map(|order| order.items.iter().map(|item| item.product_id))
            .collect();
        books.products.retain(|product| products.contains(&product.id));
        books.outbox.retain(|waiting| is_named(&waiting.detail));
        books.payments.retain(|payment| is_wanted(payment.order_id));
        books.mails.retain(|mail| is_wanted(mail.order_id));
        for messages in books.queues.values_mut() {
            messages.retain(|message| is_named(message));
        }
        books.executions.retain(|execution| is_wanted(execution.order_id));
        books
            .observed_events
            .retain(|heard| is_wanted(Some(OrderId(heard.correlation_id))));
        books
    }

    /// Orders that wait for a person.
    #[must_use]
    pub fn parked_orders(&self) -> BTreeSet<OrderId> {
        let letters: Vec<&String> = self
            .messages_in(QueuePurpose::OrderParking)
            .map(|(_, body)| body)
            .collect();
        self.orders
            .iter()
            .map(|order| order.order_id)
            .filter(|id| letters.iter().any(|letter| letter.contains(&id.to_string())))
            .collect()
    }

    fn messages_in(&self, purpose: QueuePurpose) -> impl Iterator<Item = (&str, &String)> {
        self.queues
            .iter()
            .filter(move |(name, _)| QueuePurpose::from_queue_name(name) == purpose)
            .flat_map(|(name, messages)| messages.iter().map(move |body| (name.as_str(), body)))
    }
}
