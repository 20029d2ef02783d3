//! Order events.

use domain::{Currency, FailureReason, OrderId, ProductId, Quantity, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::EventData;

/// A line of an order, with the product's name and price at the time of the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub product_id: ProductId,
    pub product_name: String,
    pub quantity: Quantity,
    /// The price of one unit, in minor units of the order's currency.
    pub price: i64,
}

/// A customer placed an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub currency: Currency,
    /// The total price in minor units of `currency`.
    pub total_amount: i64,
    /// The lines as the customer sent them; two lines may name the same product.
    pub items: Vec<OrderLine>,
    /// The payment provider's id of the payment method.
    pub payment_method: String,
    pub created_at: Timestamp,
}

impl EventData for OrderCreated {
    const SOURCE: &'static str = "core-api.orders";
    const DETAIL_TYPE: &'static str = "OrderCreated";
}

/// An order no longer waits for the action that its payment requires, such as 3D Secure: the customer has
/// returned from it or has cancelled the order, or the payment provider knows the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentActionCompleted {
    pub order_id: OrderId,
    pub user_id: UserId,
    /// The number of restarts of the order's saga, including the one that this event causes.
    pub restarts: u32,
}

impl EventData for PaymentActionCompleted {
    const SOURCE: &'static str = "core-api.orders";
    const DETAIL_TYPE: &'static str = "PaymentActionCompleted";
}

/// An order is paid and its stock is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCompleted {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub currency: Currency,
    /// The amount paid, in minor units of `currency`.
    pub total_amount: i64,
    pub completed_at: Timestamp,
}

impl EventData for OrderCompleted {
    const SOURCE: &'static str = "order-saga";
    const DETAIL_TYPE: &'static str = "OrderCompleted";
}

/// An order failed; the saga refunded its payment and released its stock. Version 2 has one more reason,
/// `authentication_timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFailed {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub reason: FailureReason,
    pub failed_at: Timestamp,
}

impl EventData for OrderFailed {
    const SOURCE: &'static str = "order-saga";
    const DETAIL_TYPE: &'static str = "OrderFailed";
    const SCHEMA_VERSION: u32 = 2;
    const OLDEST_READABLE_VERSION: u32 = 1;
}

/// A customer cancelled an order. It is not charged: a payment that was made meanwhile has been refunded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub cancelled_at: Timestamp,
}

impl EventData for OrderCancelled {
    const SOURCE: &'static str = "core-api.orders";
    const DETAIL_TYPE: &'static str = "OrderCancelled";
}
