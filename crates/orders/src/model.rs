//! An order, as it is stored and as it is handed out.

use chrono::TimeDelta;
use domain::{
    Currency, FailureReason, Money, OrderId, OrderStatus, PaymentId, ProductId, Quantity, Timestamp, UserId,
};
use events::{EventContext, TraceParent, order::OrderLine};
use serde::{Deserialize, Serialize};

use crate::open_orders;

/// How long an order is kept.
const RETENTION: TimeDelta = TimeDelta::days(365);

/// A line of an order, with the product's name and price as they were when it was placed.
pub type OrderItem = OrderLine;

/// When an order came to a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// The status.
    pub status: OrderStatus,
    /// When, in UTC.
    pub at: Timestamp,
}

/// How far the order's payment is known to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// The provider knows of it; it may or may not have been taken.
    Claimed,
    /// Taken.
    Captured,
    /// Taken and given back.
    Refunded,
}

/// An order. DynamoDB item of the table `ecommerce-orders`, key `user_id` and `order_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its customer.
    pub user_id: UserId,
    /// Its id, made when it was placed: a later order sorts later.
    pub order_id: OrderId,
    /// Where it stands.
    pub status: OrderStatus,
    /// What the amounts are in.
    pub currency: Currency,
    /// The whole price in minor units.
    pub total_amount: i64,
    /// The lines, as the customer gave them.
    pub items: Vec<OrderItem>,
    /// The payment provider's name of what pays.
    pub payment_method: String,
    /// Where mail about this order goes: the address that the customer had when placing it.
    pub contact_email: String,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When its status changed last.
    pub updated_at: Timestamp,
    /// Every status it has had, oldest first.
    pub history: Vec<StatusChange>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    /// The payment at the provider, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// How far that payment has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// Whether compensation has closed the order to payment and completion.
    #[serde(default)]
    pub payment_closed: bool,
    /// The last event of the order that told of an end, for whoever is to publish it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_event_id: Option<domain::EventId>,
    /// The event that told of its placing, and so the cause of its saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_event_id: Option<domain::EventId>,
    /// The part of the index of open orders that it stands in; none once it has ended, or is a person's to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// How often its saga was started again.
    #[serde(default)]
    pub restarts: u32,
    /// When that was decided last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Timestamp>,
    /// The trace that the order belongs to.
    pub traceparent: TraceParent,
    /// When DynamoDB may remove it, in seconds since 1970.
    pub ttl: i64,
}

/// An order that is to be placed.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// Its customer.
    pub user_id: UserId,
    /// Where mail about it goes.
    pub contact_email: String,
    /// Its lines, priced by the catalogue.
    pub items: Vec<OrderItem>,
    /// Their sum.
    pub total: Money,
    /// The payment provider's name of what pays.
    pub payment_method: String,
    /// The customer's name for this attempt: the same again gives the same order again.
    pub idempotency_key: String,
    /// The trace of the request.
    pub traceparent: TraceParent,
}

/// Some of a customer's orders, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The orders.
    pub orders: Vec<Order>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<OrderId>,
}

impl Order {
    pub(crate) fn new(new: &NewOrder, at: Timestamp) -> Self {
        let order_id = OrderId::new(at);
        Self {
            user_id: new.user_id,
            order_id,
            status: OrderStatus::Pending,
            currency: new.total.currency(),
            total_amount: new.total.amount(),
            items: new.items.clone(),
            payment_method: new.payment_method.clone(),
            contact_email: new.contact_email.clone(),
            created_at: at,
            updated_at: at,
            history: vec![StatusChange {
                status: OrderStatus::Pending,
                at,
            }],
            reason: None,
            payment_id: None,
            payment: None,
            payment_closed: false,
            final_event_id: None,
            created_event_id: None,
            open: Some(open_orders::shard(order_id)),
            restarts: 0,
            restarted_at: None,
            traceparent: new.traceparent,
            ttl: (at + RETENTION).timestamp(),
        }
    }

    /// The order as it was the moment it was placed: what the first answer showed.
    #[must_use]
    pub fn as_placed(mut self) -> Self {
        self.status = OrderStatus::Pending;
        self.updated_at = self.created_at;
        self.history.truncate(1);
        self.reason = None;
        self.open = Some(open_orders::shard(self.order_id));
        self
    }

    /// How many pieces of each product, over all lines that name it, in the products' order.
    #[must_use]
    pub fn quantities(&self) -> Vec<(ProductId, i64)> {
        let mut pieces = std::collections::BTreeMap::new();
        for OrderItem {
            product_id, quantity, ..
        } in &self.items
        {
            *pieces.entry(*product_id).or_insert(0) += i64::from(Quantity::get(*quantity));
        }
        pieces.into_iter().collect()
    }

    /// The cause of what happens to the order without an event or request of its own.
    #[must_use]
    pub fn event_context(&self) -> EventContext {
        EventContext {
            correlation_id: self.order_id.0,
            causation_id: None,
            traceparent: self.traceparent,
        }
    }
}
