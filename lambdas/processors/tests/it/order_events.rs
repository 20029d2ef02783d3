//! Events about orders, as the functions receive them from their queues.

use domain::{FailureReason, OrderId, PaymentId};
use events::{
    order::{OrderCancelled, OrderCompleted, OrderFailed},
    payment::PaymentRefunded,
};
use orders::Order;
use serde_json::Value;

use crate::{eventbridge_event, now};

pub fn payment_id(order_id: OrderId) -> PaymentId {
    PaymentId(format!("pi_{order_id}"))
}

pub fn order_completed(order: &Order) -> Value {
    let data = OrderCompleted {
        order_id: order.order_id,
        user_id: order.user_id,
        currency: order.currency,
        total_amount: order.total_amount,
        completed_at: now(),
    };
    eventbridge_event(data, order.order_id.0)
}

pub fn order_failed(order: &Order, reason: FailureReason) -> Value {
    let data = OrderFailed {
        order_id: order.order_id,
        user_id: order.user_id,
        reason,
        failed_at: now(),
    };
    eventbridge_event(data, order.order_id.0)
}

pub fn order_cancelled(order: &Order) -> Value {
    let data = OrderCancelled {
        order_id: order.order_id,
        user_id: order.user_id,
        cancelled_at: now(),
    };
    eventbridge_event(data, order.order_id.0)
}

pub fn payment_refunded(order: &Order) -> Value {
    let data = PaymentRefunded {
        order_id: order.order_id,
        user_id: order.user_id,
        payment_id: payment_id(order.order_id),
        amount: order.total_amount,
        currency: order.currency,
    };
    eventbridge_event(data, order.order_id.0)
}
