//! Requests to push an order's state to its customer's devices, in the form in which process-payment sends
//! them to `status-push-queue`.
//!
//! These requests are not events. They announce the intermediate steps of an order, which no other consumer
//! needs, and state no fact: the function `status-push` reads the order.

use domain::{OrderId, UserId};
use serde::{Deserialize, Serialize};

use crate::TraceParent;

/// A request to push the present state of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPushRequest {
    /// The order to push.
    pub order_id: OrderId,
    /// The order's customer.
    pub user_id: UserId,
    pub traceparent: TraceParent,
}
