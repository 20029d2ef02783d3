//! The messages from the server to a client, as `docs/asyncapi.yaml` describes them.

use domain::{FailureReason, OrderId, OrderStatus, ProductId, Timestamp};
use events::StockPushRequest;
use orders::{HistoryEntry, Order, OrderChange};
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerMessage<'a> {
    /// The present state of an order, and how it came about.
    OrderStatusUpdate(OrderUpdate),
    /// The level of a product.
    StockUpdate(StockPushRequest),
    /// The response to `subscribe`, after the updates that the client has missed.
    Subscribed {
        orders: Vec<OrderPosition>,
        /// The products that the connection watches from now on, of those that the client named.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        products: Vec<ProductId>,
        /// The orders that do not exist or belong to another user.
        not_found: Vec<OrderId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// The response to `unsubscribe`.
    Unsubscribed {
        orders: Vec<OrderId>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        products: Vec<ProductId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// The response to `ping`.
    Pong {
        at: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// A message of the client was refused.
    Error {
        code: &'static str,
        /// What is wrong and what to do.
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
}

/// An order and the sequence number of its newest change.
#[derive(Debug, Serialize)]
pub struct OrderPosition {
    pub order_id: OrderId,
    pub sequence: u32,
}

#[derive(Debug, Serialize)]
pub struct OrderUpdate {
    order_id: OrderId,
    /// The sequence number of the newest change.
    sequence: u32,
    status: OrderStatus,
    /// Whether the status is final.
    is_final: bool,
    /// Whether the customer must act before the payment is charged. `GET /v1/orders/{id}` says how: the
    /// message contains no secret of the payment.
    action_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<FailureReason>,
    /// Oldest first, without gaps, up to `sequence`.
    changes: Vec<NumberedChange>,
}

#[derive(Debug, Serialize)]
struct NumberedChange {
    sequence: u32,
    at: Timestamp,
    #[serde(flatten)]
    change: OrderChange,
}

impl OrderUpdate {
    /// The order with its changes after `last_sequence`.
    pub fn since(order: &Order, last_sequence: u32) -> Self {
        let changes = order.history_after(last_sequence);
        Self {
            order_id: order.order_id,
            sequence: order.sequence(),
            status: order.status,
            is_final: order.status.is_final(),
            action_required: order.awaits_payment_action(),
            reason: order.reason,
            changes: changes
                .map(|(sequence, &HistoryEntry { at, change })| NumberedChange { sequence, at, change })
                .collect(),
        }
    }
}
