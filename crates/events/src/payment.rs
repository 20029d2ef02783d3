//! Payment events.

use domain::{Currency, OrderId, PaymentId, UserId};
use serde::{Deserialize, Serialize};

use crate::EventData;

/// The payment provider charged the customer for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentProcessed {
    pub order_id: OrderId,
    pub user_id: UserId,
    /// The provider's id of the payment.
    pub payment_id: PaymentId,
    /// The amount charged, in minor units of `currency`.
    pub amount: i64,
    pub currency: Currency,
}

impl EventData for PaymentProcessed {
    const SOURCE: &'static str = "order-saga";
    const DETAIL_TYPE: &'static str = "PaymentProcessed";
}

/// The payment provider refunded the payment of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    pub order_id: OrderId,
    pub user_id: UserId,
    /// The provider's id of the payment.
    pub payment_id: PaymentId,
    /// The amount refunded, in minor units of `currency`.
    pub amount: i64,
    pub currency: Currency,
}

impl EventData for PaymentRefunded {
    const SOURCE: &'static str = "order-saga";
    const DETAIL_TYPE: &'static str = "PaymentRefunded";
}
