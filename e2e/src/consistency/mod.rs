//! Consistency checks: compare the orders, stock, payments, mails, SMS, receipts, queues and events of a
//! running system, and what connected customers have seen.
//!
//! A [`Collector`] reads a [`SystemSnapshot`] from the stores, and [`SystemSnapshot::check_invariants`] turns
//! it into a [`ConsistencyReport`]. The stores are read one after another, so only a snapshot whose reading
//! began after the system became quiescent may be judged: see [`StabilityTracker`]. The collector reads the
//! stores directly and calls none of our services; the payment provider, a third party, is read by its API.

mod checks;
mod collector;
mod notifications;
mod quiescence;
mod receipts;
mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use domain::{OrderId, ProductId, UserId};
use orders::Order;
use uuid::Uuid;

use crate::realtime::OrderView;

pub use collector::EVENT_CAPTURE_QUEUE;
pub use collector::{CollectError, Collector};
pub use quiescence::{PendingWork, QuiescentSnapshot, StabilityTracker};
pub use report::{Check, ConsistencyReport, Finding, Invariant, Warning};

/// The state of all stores of the system.
#[derive(Clone, Debug, Default)]
pub struct SystemSnapshot {
    pub orders: Vec<Order>,
    pub products: Vec<ProductStock>,
    pub reservations: Vec<Reservation>,
    /// Unpublished events of both outboxes.
    pub outbox: Vec<OutboxEntry>,
    /// The payment provider's payments.
    pub payments: Vec<Payment>,
    pub mails: Vec<OrderNotification>,
    pub sms: Vec<OrderNotification>,
    pub receipts: Vec<StoredReceipt>,
    /// Message bodies by queue name.
    pub queues: BTreeMap<String, Vec<String>>,
    pub executions: Vec<SagaExecution>,
    /// Events captured from the bus; empty when no capture queue exists.
    pub observed_events: Vec<ObservedEvent>,
}

/// What clients observed.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    pub requests: Vec<ClientObservation>,
    pub connected_customers: Vec<ConnectedCustomer>,
}

/// What the client of a customer saw over the WebSocket API, on all its connections one after another.
#[derive(Clone, Debug)]
pub struct ConnectedCustomer {
    pub user_id: UserId,
    /// Every order about which the client received an update, or which it followed.
    pub orders: BTreeMap<OrderId, OrderView>,
    /// Messages about an order that contradict what the client had seen: the order, and what is wrong.
    pub invalid_messages: Vec<(OrderId, String)>,
}

/// What a client observed about one order that it sent under one idempotency key.
#[derive(Clone, Debug)]
pub struct ClientObservation {
    pub user_id: UserId,
    pub idempotency_key: String,
    /// The order ids in all 202 responses; more than one is a violation.
    pub order_ids: BTreeSet<OrderId>,
    /// `None` if the client was not asked to authenticate the payment.
    pub authentication: Option<Authentication>,
}

/// How a customer responded to the request to authenticate the payment (3D Secure), as far as the page of the
/// payment provider confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The payment succeeded well before the time limit.
    Approved,
    /// The payment succeeded close to the time limit or after it.
    ApprovedLate,
    /// The customer denied the payment, or the bank declined it.
    Refused,
    Unanswered,
}

/// A product's stock row, in units, and the sums of its movements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductStock {
    pub id: ProductId,
    /// The sum of all applied adjustments.
    pub adjusted: i64,
    /// The sum of committed reservations.
    pub committed: i64,
    /// The sum of open reservations.
    pub open_reserved: i64,
    /// The quantity in the stock row.
    pub quantity: i64,
    /// The reserved quantity in the stock row.
    pub reserved: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The id of its order.
    pub id: Uuid,
    /// `reserved`, `committed`, `released`, `expired` or `refused`.
    pub status: String,
    /// Units by product.
    pub quantities: Vec<(ProductId, i64)>,
}

/// An unpublished event in an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The table of the outbox.
    pub store: String,
    pub event_id: String,
    pub detail_type: String,
    /// The event's envelope as JSON text.
    pub detail: String,
}

/// A payment at the payment provider. Amounts are in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The provider's id.
    pub id: String,
    pub order_id: Option<OrderId>,
    pub amount: i64,
    /// Whether the payment succeeded.
    pub charged: bool,
    /// The sum of its refunds that have not failed.
    pub refunded: i64,
    /// Whether one of its refunds has failed.
    pub has_failed_refund: bool,
    pub disputed: bool,
}

/// A mail or an SMS about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderNotification {
    /// The order that the text names; `None` for an unknown one and for account mails.
    pub order_id: Option<OrderId>,
    pub kind: NotificationKind,
}

/// The outcome that a mail or an SMS reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotificationKind {
    Completed,
    /// The order failed and the customer was not charged.
    Failed,
    FailedAndRefunded,
    /// The customer cancelled the order and was not charged.
    Cancelled,
    CancelledAndRefunded,
    /// The payment was charged after the end of the order, and refunded.
    RefundedAfterEnd,
}

/// An object in the bucket of receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    pub key: String,
    /// The order in the key; `None` if the key is not that of a receipt.
    pub order_id: Option<OrderId>,
    /// More than one if the object was replaced.
    pub versions: usize,
    /// `None` if the newest version is not a readable receipt.
    pub content: Option<ReceiptContent>,
}

/// What the PDF of a receipt says. Amounts are in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptContent {
    /// The receipt's number, which is the id of its order.
    pub number: OrderId,
    pub total: i64,
    /// The tax that the total includes.
    pub tax: i64,
}

/// An execution of the order saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaExecution {
    pub name: String,
    /// The order id at the start of the name.
    pub order_id: Option<OrderId>,
    /// The status in Step Functions.
    pub status: String,
}

/// An event that was captured from the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedEvent {
    /// For an order, the order's id.
    pub correlation_id: Uuid,
    pub detail_type: String,
    /// The trace id in the event's `traceparent`, as 32 hexadecimal digits.
    pub trace_id: String,
}

/// The purpose of a queue, derived from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueuePurpose {
    Work,
    /// Dead-letter queues, and the parking queue of events that could not be published.
    DeadLetterQueue,
    /// Orders that an operator has to finish.
    OrderParking,
    /// Created by tests.
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
    /// Returns the part of the snapshot that concerns these orders and their products. Tests use it when
    /// other tests use the system at the same time.
    #[must_use]
    pub fn for_orders(&self, order_ids: &[OrderId]) -> Self {
        let selected: BTreeSet<OrderId> = order_ids.iter().copied().collect();
        let id_texts: Vec<String> = order_ids.iter().map(OrderId::to_string).collect();
        let names_an_order = |text: &str| id_texts.iter().any(|id| text.contains(id));
        let is_selected = |id: Option<OrderId>| id.is_some_and(|id| selected.contains(&id));
        let mut snapshot = self.clone();
        snapshot.orders.retain(|order| selected.contains(&order.order_id));
        snapshot
            .reservations
            .retain(|reservation| is_selected(Some(OrderId(reservation.id))));
        let products: BTreeSet<ProductId> = snapshot
            .orders
            .iter()
            .flat_map(|order| order.items.iter().map(|item| item.product_id))
            .collect();
        snapshot.products.retain(|product| products.contains(&product.id));
        snapshot.outbox.retain(|entry| names_an_order(&entry.detail));
        snapshot.payments.retain(|payment| is_selected(payment.order_id));
        snapshot.mails.retain(|mail| is_selected(mail.order_id));
        snapshot.sms.retain(|sms| is_selected(sms.order_id));
        snapshot.receipts.retain(|receipt| is_selected(receipt.order_id));
        for messages in snapshot.queues.values_mut() {
            messages.retain(|message| names_an_order(message));
        }
        snapshot
            .executions
            .retain(|execution| is_selected(execution.order_id));
        snapshot
            .observed_events
            .retain(|event| is_selected(Some(OrderId(event.correlation_id))));
        snapshot
    }

    /// The orders that wait for an operator: those that order-reconciler has parked, and those in the parking
    /// queue.
    #[must_use]
    pub fn parked_orders(&self) -> BTreeSet<OrderId> {
        let messages: Vec<&String> = self
            .messages_in(QueuePurpose::OrderParking)
            .map(|(_, body)| body)
            .collect();
        self.orders
            .iter()
            .filter(|order| {
                let id = order.order_id.to_string();
                order.parked_at.is_some() && !order.status.is_final()
                    || messages.iter().any(|body| body.contains(&id))
            })
            .map(|order| order.order_id)
            .collect()
    }

    /// The bodies of all messages in work queues.
    pub fn work_messages(&self) -> impl Iterator<Item = &String> {
        self.messages_in(QueuePurpose::Work).map(|(_, body)| body)
    }

    /// A hash of the snapshot that does not depend on the order in which the stores return their items. Two
    /// readings with the same fingerprint saw the same state. Test queues are left out, because their
    /// consumers are not part of the system; events that they capture count as observed events.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fn sorted<T: Debug>(items: &[T]) -> Vec<String> {
            let mut texts: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            texts.sort_unstable();
            texts
        }
        let Self {
            orders,
            products,
            reservations,
            outbox,
            payments,
            mails,
            sms,
            receipts,
            queues,
            executions,
            observed_events,
        } = self;
        let mut hasher = DefaultHasher::new();
        for items in [
            sorted(orders),
            sorted(products),
            sorted(reservations),
            sorted(outbox),
            sorted(payments),
            sorted(mails),
            sorted(sms),
            sorted(receipts),
            sorted(executions),
            sorted(observed_events),
        ] {
            items.hash(&mut hasher);
        }
        for (name, bodies) in queues {
            if QueuePurpose::from_queue_name(name) != QueuePurpose::TestOwned {
                (name, sorted(bodies)).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    fn messages_in(&self, purpose: QueuePurpose) -> impl Iterator<Item = (&str, &String)> {
        self.queues
            .iter()
            .filter(move |(name, _)| QueuePurpose::from_queue_name(name) == purpose)
            .flat_map(|(name, messages)| messages.iter().map(move |body| (name.as_str(), body)))
    }
}
