//! The input of an execution of `order-saga`. It is built from the `OrderCreated` event or from the stored
//! order; both give the same result for the same order.

use domain::{Currency, OrderId, ProductId, Quantity, UserId};
use events::{
    Envelope, TraceParent,
    order::{OrderCreated, OrderLine},
};
use orders::{Order, OrderItem};
use serde::Serialize;
use uuid::Uuid;

/// The data that the saga's steps need.
#[derive(Debug, PartialEq, Serialize)]
pub struct SagaInput {
    order_id: OrderId,
    user_id: UserId,
    currency: Currency,
    total_amount: i64,
    items: Vec<LineItem>,
    payment_method: String,
    traceparent: TraceParent,
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
}

#[derive(Debug, PartialEq, Serialize)]
struct LineItem {
    product_id: ProductId,
    quantity: Quantity,
}

impl From<&OrderLine> for LineItem {
    fn from(line: &OrderLine) -> Self {
        Self {
            product_id: line.product_id,
            quantity: line.quantity,
        }
    }
}

impl From<&OrderItem> for LineItem {
    fn from(item: &OrderItem) -> Self {
        Self {
            product_id: item.product_id,
            quantity: item.quantity,
        }
    }
}

impl From<&Envelope<OrderCreated>> for SagaInput {
    fn from(event: &Envelope<OrderCreated>) -> Self {
        let (order, context) = (&event.data, event.follow_up_context());
        Self {
            order_id: order.order_id,
            user_id: order.user_id,
            currency: order.currency,
            total_amount: order.total_amount,
            items: order.items.iter().map(LineItem::from).collect(),
            payment_method: order.payment_method.clone(),
            traceparent: context.traceparent,
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
        }
    }
}

impl From<&Order> for SagaInput {
    fn from(order: &Order) -> Self {
        Self {
            order_id: order.order_id,
            user_id: order.user_id,
            currency: order.currency,
            total_amount: order.total_amount,
            items: order.items.iter().map(LineItem::from).collect(),
            payment_method: order.payment_method.clone(),
            traceparent: order.traceparent,
            correlation_id: order.order_id.0,
            causation_id: order.created_event_id.map(|event_id| event_id.0),
        }
    }
}

impl SagaInput {
    /// The JSON for StartExecution.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of strings and integers always serialises")
    }
}
