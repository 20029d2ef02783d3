//! What happens to an order's money.

use domain::{Currency, OrderId, PaymentId, UserId};
use serde::{Deserialize, Serialize};

use crate::EventData;

/// The provider took an order's price from its customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentProcessed {
    /// The order that was paid.
    pub order_id: OrderId,
    /// Its customer.
    pub user_id: UserId,
    /// The payment at the provider.
    pub payment_id: PaymentId,
    /// What was taken, in minor units.
    pub amount: i64,
    /// What the amount is in.
    pub currency: Currency,
}

impl EventData for PaymentProcessed {
    const SOURCE: &'static str = "order-saga";
    const DETAIL_TYPE: &'static str = "PaymentProcessed";
}

/// The provider gave an order's price back to its customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// The order that had been paid.
    pub order_id: OrderId,
    /// Its customer.
    pub user_id: UserId,
    /// The payment at the provider.
    pub payment_id: PaymentId,
    /// What was given back, in minor units.
    pub amount: i64,
    /// What the amount is in.
    pub currency: Currency,
}

impl EventData for PaymentRefunded {
    const SOURCE: &'static str = "order-saga";
    const DETAIL_TYPE: &'static str = "PaymentRefunded";
}
