//! The invariants, one module for each part of the system: orders, stock, payments, receipts, messages and
//! connected customers.

mod messages;
mod orders;
mod payments;
mod realtime;
mod receipts;
mod stock;

use std::collections::{BTreeMap, BTreeSet};

use ::orders::Order;
use domain::{OrderId, OrderStatus};

use super::{ConsistencyReport, Observations, SystemSnapshot, Warning};

/// The snapshot and the indexes that several checks use.
struct CheckContext<'a> {
    snapshot: &'a SystemSnapshot,
    observations: &'a Observations,
    orders: BTreeMap<OrderId, &'a Order>,
    parked_orders: BTreeSet<OrderId>,
}

impl CheckContext<'_> {
    /// Returns `None` when the order does not exist.
    fn order_status(&self, id: OrderId) -> Option<OrderStatus> {
        self.orders.get(&id).map(|order| order.status)
    }

    fn orders_in_status(&self, status: OrderStatus) -> impl Iterator<Item = &Order> {
        let orders = self.snapshot.orders.iter();
        orders.filter(move |order| order.status == status)
    }

    /// Orders in a final status that are not parked: only for these all effects must have happened.
    fn final_orders(&self) -> impl Iterator<Item = &Order> {
        let orders = self.snapshot.orders.iter();
        orders.filter(|order| order.status.is_final() && !self.parked_orders.contains(&order.order_id))
    }
}

impl SystemSnapshot {
    /// Checks all invariants of the snapshot. Without `observations` the invariants about what clients
    /// received apply to no order.
    #[must_use]
    pub fn check_invariants(&self, observations: &Observations) -> ConsistencyReport {
        let context = CheckContext {
            snapshot: self,
            observations,
            orders: self.orders.iter().map(|order| (order.order_id, order)).collect(),
            parked_orders: self.parked_orders(),
        };
        let mut checks = Vec::from(orders::checks(&context));
        checks.extend(stock::checks(&context));
        checks.extend(payments::checks(&context));
        checks.extend(receipts::checks(&context));
        checks.extend(messages::checks(&context));
        checks.extend(realtime::checks(&context));
        let mut warnings = Vec::new();
        let parked: Vec<String> = context.parked_orders.iter().map(OrderId::to_string).collect();
        if !parked.is_empty() {
            warnings.push(Warning {
                description: "orders in order-parking-queue, which an operator has to finish",
                ids: parked,
            });
        }
        warnings.extend(messages::duplicates(&context));
        ConsistencyReport { checks, warnings }
    }
}
