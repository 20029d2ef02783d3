//! The order and its parts, as stored in DynamoDB and returned to callers.

use chrono::TimeDelta;
use domain::{
    Currency, FailureReason, Language, Money, OrderId, OrderStatus, PaymentAction, PaymentId, ProductId,
    Quantity, QuietHours, TaxRate, TaxTotal, Timestamp, UserId, money::MoneyError, tax::tax_totals,
};
use events::{EventContext, TraceParent, order::OrderLine};
use serde::{Deserialize, Serialize};

use crate::{PaymentIssue, open_orders};

/// Retention of an order.
const RETENTION: TimeDelta = TimeDelta::days(365);

/// A line of an order, with the product's name, price and tax rate at the time of the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderItem {
    pub product_id: ProductId,
    pub product_name: String,
    pub quantity: Quantity,
    /// The price of one unit, tax included, in minor units of the order's currency.
    pub price: i64,
    pub tax_rate: TaxRate,
}

impl OrderItem {
    /// The price of all units, tax included. Fails when the stored price is out of range.
    pub fn total(&self, currency: Currency) -> Result<Money, MoneyError> {
        Money::new(self.price, currency)?.checked_mul(self.quantity)
    }

    /// The line as published in events.
    pub(crate) fn event_line(&self) -> OrderLine {
        OrderLine {
            product_id: self.product_id,
            product_name: self.product_name.clone(),
            quantity: self.quantity,
            price: self.price,
        }
    }
}

/// Entry of an order's history. Its position, counted from 1, is its sequence number: entries are only
/// appended, so the number of an entry never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub at: Timestamp,
    #[serde(flatten)]
    pub change: OrderChange,
}

/// A change of an order of which its customer learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderChange {
    /// The order got this status.
    Status(OrderStatus),
    /// The payment changed, and the status did not.
    Payment(PaymentStep),
}

/// A step of an order's payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStep {
    /// The customer must act before the payment is charged, for example authenticate with the bank.
    ActionRequired,
    /// The customer has returned from the action, or the payment provider knows its result.
    ActionCompleted,
    /// The customer has cancelled the order instead of completing the action.
    CancellationRequested,
    Captured,
    Refunded,
}

/// Known state of an order's payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// The payment exists at the provider; whether it was captured is unknown.
    Claimed,
    #[serde(rename = "taken")]
    Captured,
    /// Refunded, after its capture.
    Refunded,
}

/// Where a customer wants SMS about an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmsContact {
    /// In the format E.164, verified.
    pub phone_number: String,
    /// When an SMS waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
}

/// An order: item of the DynamoDB table `ecommerce-orders`, keys `user_id` and `order_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub user_id: UserId,
    /// UUIDv7: sorts by the time of placing.
    pub order_id: OrderId,
    pub status: OrderStatus,
    pub currency: Currency,
    /// Total price, in minor units of the currency.
    pub total_amount: i64,
    /// Lines in the order that the customer sent them.
    pub items: Vec<OrderItem>,
    /// Id of the payment method at the payment provider.
    pub payment_method: String,
    /// Recipient of order mails: the customer's e-mail address at the time of the order.
    pub contact_email: String,
    pub created_at: Timestamp,
    /// Time of the last change of status or payment.
    pub updated_at: Timestamp,
    /// All statuses and steps of the payment, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Set if the order failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    /// Id of the payment that claimed the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// Set while the saga waits for the customer to complete this action. Only the customer may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_action: Option<PaymentAction>,
    /// Until when the customer can complete the action. A second request of an action does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_action_expires_at: Option<Timestamp>,
    /// Until when the order waits for its customer. Set while `payment_action` is, and part of the index of
    /// open orders, from which order-reconciler takes only orders that do not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_until: Option<Timestamp>,
    /// True once compensation has closed the order to payment and completion.
    #[serde(default)]
    pub payment_closed: bool,
    /// True once the customer has cancelled the order while its payment waited for them. The compensation
    /// then ends with the status `cancelled`.
    #[serde(default)]
    pub cancellation_requested: bool,
    /// Id of the event with which the saga has ended the order. A repeated saga step publishes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_event_id: Option<domain::EventId>,
    /// Id of the `OrderCreated` event: the causation id of the saga's events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_event_id: Option<domain::EventId>,
    /// Shard of the open-orders index. `None` once the order has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// Number of saga restarts.
    #[serde(default)]
    pub restarts: u32,
    /// Time of the last saga restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Timestamp>,
    /// See [`Order::restart_limit`]. `None` until the first redrive and the first completed payment action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_limit: Option<u32>,
    /// When the order was parked. `xtask redrive` removes it, and order-reconciler then resumes the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_at: Option<Timestamp>,
    /// Trace context of the request that placed the order.
    pub traceparent: TraceParent,
    /// When DynamoDB may remove the item, in Unix seconds.
    pub ttl: i64,
    /// Whether the customer wants order mails. `None` on orders from before this attribute: wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_mails: Option<bool>,
    /// The language of order mails. `None` on orders from before this attribute: English and Japanese.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_language: Option<Language>,
    /// Recipient of SMS about the order. `None` if the customer wants none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_contact: Option<SmsContact>,
    /// True if the payment was refunded after the order had ended: it was charged too late. The mail about
    /// the end of the order may have said that the customer was not charged.
    #[serde(default)]
    pub refunded_after_end: bool,
    /// Set while an operator has to examine the payment. Key of the index `payment-issues-index`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_issue: Option<PaymentIssue>,
}

/// The payment that has claimed an order: result of [`crate::Orders::claim_for_payment`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub payment_id: PaymentId,
    /// Whether an earlier call made the claim. The payment may have been confirmed since.
    pub is_repeated: bool,
}

/// Input of [`crate::Orders::place`].
#[derive(Clone, Debug)]
pub struct NewOrder {
    pub user_id: UserId,
    /// Recipient of order mails.
    pub contact_email: String,
    /// Lines with prices from the catalog.
    pub items: Vec<OrderItem>,
    /// Sum of the lines.
    pub total: Money,
    /// Id of the payment method at the payment provider.
    pub payment_method: String,
    /// Chosen by the client: repeating a request with the same key returns the same order.
    pub idempotency_key: String,
    pub traceparent: TraceParent,
    /// Whether the customer wants order mails.
    pub order_mails: bool,
    /// The language of order mails and SMS.
    pub mail_language: Language,
    /// Recipient of SMS about the order. `None` if the customer wants none.
    pub sms_contact: Option<SmsContact>,
    /// How many open orders the customer may have, this one included. `None`: any number.
    pub max_open_orders: Option<u32>,
}

/// A page of a customer's orders, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub orders: Vec<Order>,
    /// First order of the next page; `None` on the last page.
    pub next: Option<OrderId>,
}

impl Order {
    pub(crate) fn new(order_id: OrderId, new: &NewOrder, at: Timestamp) -> Self {
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
            history: vec![HistoryEntry {
                at,
                change: OrderChange::Status(OrderStatus::Pending),
            }],
            reason: None,
            payment_id: None,
            payment: None,
            payment_action: None,
            payment_action_expires_at: None,
            waits_until: None,
            payment_closed: false,
            cancellation_requested: false,
            final_event_id: None,
            created_event_id: None,
            open: Some(open_orders::shard(order_id)),
            restarts: 0,
            restarted_at: None,
            restart_limit: None,
            parked_at: None,
            traceparent: new.traceparent,
            ttl: (at + RETENTION).timestamp(),
            order_mails: Some(new.order_mails),
            mail_language: Some(new.mail_language),
            sms_contact: new.sms_contact.clone(),
            refunded_after_end: false,
            payment_issue: None,
        }
    }

    /// Returns the order as it was when it was placed, for responses to repeated requests.
    #[must_use]
    pub fn as_placed(mut self) -> Self {
        self.status = OrderStatus::Pending;
        self.updated_at = self.created_at;
        self.history.truncate(1);
        self.reason = None;
        self.payment_action = None;
        self.open = Some(open_orders::shard(self.order_id));
        self
    }

    /// All statuses with the times at which the order got them, oldest first.
    pub fn status_history(&self) -> impl Iterator<Item = (OrderStatus, Timestamp)> {
        self.history.iter().filter_map(|entry| match entry.change {
            OrderChange::Status(status) => Some((status, entry.at)),
            OrderChange::Payment(_) => None,
        })
    }

    /// The sequence number of the newest entry of the history.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        u32::try_from(self.history.len()).unwrap_or(u32::MAX)
    }

    /// The entries of the history that are newer than `sequence`, with their sequence numbers, oldest first.
    pub fn history_after(&self, sequence: u32) -> impl Iterator<Item = (u32, &HistoryEntry)> {
        (1..)
            .zip(&self.history)
            .filter(move |(number, _)| *number > sequence)
    }

    /// The total price. Fails when the stored amount is out of range.
    pub fn total(&self) -> Result<Money, MoneyError> {
        Money::new(self.total_amount, self.currency)
    }

    /// The total and the tax of each tax rate. Fails when a stored price is out of range.
    pub fn tax_totals(&self) -> Result<Vec<TaxTotal>, MoneyError> {
        let line = |item: &OrderItem| Ok((item.tax_rate, item.total(self.currency)?));
        let lines: Vec<_> = self.items.iter().map(line).collect::<Result<_, MoneyError>>()?;
        tax_totals(lines)
    }

    /// When the order reached its final status `completed`.
    #[must_use]
    pub fn completed_at(&self) -> Option<Timestamp> {
        let mut statuses = self.status_history();
        statuses.find_map(|(status, at)| (status == OrderStatus::Completed).then_some(at))
    }

    /// Total quantity per product over all lines, sorted by product id.
    #[must_use]
    pub fn quantities(&self) -> Vec<(ProductId, i64)> {
        let mut quantities = std::collections::BTreeMap::new();
        for OrderItem {
            product_id, quantity, ..
        } in &self.items
        {
            *quantities.entry(*product_id).or_insert(0) += i64::from(Quantity::get(*quantity));
        }
        quantities.into_iter().collect()
    }

    /// Event context for changes of the order that no other event or request caused.
    #[must_use]
    pub fn event_context(&self) -> EventContext {
        EventContext {
            correlation_id: self.order_id.0,
            causation_id: None,
            traceparent: self.traceparent,
        }
    }
}
