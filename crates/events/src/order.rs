//! What happens to orders.

use domain::{Currency, FailureReason, OrderId, ProductId, Quantity, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::EventData;

/// A line of an order, with the product's name and price as they were when it was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// What is bought.
    pub product_id: ProductId,
    /// Its name at that moment.
    pub product_name: String,
    /// How many pieces.
    pub quantity: Quantity,
    /// The price of one piece, in minor units of the order's currency.
    pub price: i64,
}

/// A customer placed an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// The order.
    pub order_id: OrderId,
    /// Its customer.
    pub user_id: UserId,
    /// What the amounts are in.
    pub currency: Currency,
    /// The whole price in minor units.
    pub total_amount: i64,
    /// The lines, as the customer gave them.
    pub items: Vec<OrderLine>,
    /// The payment provider's name of what pays.
    pub payment_method: String,
    /// When it was accepted.
    pub created_at: Timestamp,
}

impl EventData for OrderCreated {
    const SOURCE: &'static str = "core-api.orders";
    const DETAIL_TYPE: &'static str = "OrderCreated";
}

/// An order is paid and its stock is sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCompleted {
    /// The order.
    pub order_id: OrderId,
    /// Its customer.
    pub user_id: UserId,
    /// What the amount is in.
    pub currency: Currency,
    /// What was paid, in minor units.
    pub total_amount: i64,
    /// When it was completed.
    pub completed_at: Timestamp,
}

impl EventData for OrderCompleted {
    const SOURCE: &'static str = "order-saga";
    const DETAIL_TYPE: &'static str = "OrderCompleted";
}

/// An order was refused or broken off; everything that it had taken was put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFailed {
    /// The order.
    pub order_id: OrderId,
    /// Its customer.
    pub user_id: UserId,
    /// Why.
    pub reason: FailureReason,
    /// When it was given up.
    pub failed_at: Timestamp,
}

impl EventData for OrderFailed {
    const SOURCE: &'static str = "order-saga";
    const DETAIL_TYPE: &'static str = "OrderFailed";
}

/// A customer took an order back before it was paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: OrderId,
    /// Its customer.
    pub user_id: UserId,
    /// When.
    pub cancelled_at: Timestamp,
}

impl EventData for OrderCancelled {
    const SOURCE: &'static str = "core-api.orders";
    const DETAIL_TYPE: &'static str = "OrderCancelled";
}
