//! Balancing: every rule against every line of the books that it is about.

mod messages;
mod orders;
mod payments;
mod stock;

use std::collections::{BTreeMap, BTreeSet};

use ::orders::Order;
use domain::{OrderId, OrderStatus};

use super::{ClientObservation, ConsistencyReport, SystemSnapshot, Warning};

/// The books, with what the rules look up in them again and again.
struct CheckContext<'a> {
    snapshot: &'a SystemSnapshot,
    observations: &'a [ClientObservation],
    orders: BTreeMap<OrderId, &'a Order>,
    parked_orders: BTreeSet<OrderId>,
}

impl CheckContext<'_> {
    /// Where an order stands; none when it is not there.
    fn order_status(&self, id: OrderId) -> Option<OrderStatus> {
        self.orders.get(&id).map(|order| order.status)
    }

    fn orders_in_status(&self, wanted: OrderStatus) -> impl Iterator<Item = &Order> {
        let orders = self.snapshot.orders.iter();
        orders.filter(move |order| order.status == wanted)
    }

    /// Orders that have ended and wait for nobody: whatever is said of an end must hold for them.
    fn final_orders(&self) -> impl Iterator<Item = &Order> {
        let orders = self.snapshot.orders.iter();
        orders.filter(|order| order.status.is_final() && !self.parked_orders.contains(&order.order_id))
    }
}

impl SystemSnapshot {
    /// Balances the books, among themselves and against what clients know. Without claims nothing is known of what
    /// clients were told, and the rules about that hold for nothing.
    #[must_use]
    pub fn check_invariants(&self, claims: &[ClientObservation]) -> ConsistencyReport {
        let desk = CheckContext {
            snapshot: self,
            observations: claims,
            orders: self.orders.iter().map(|order| (order.order_id, order)).collect(),
            parked_orders: self.parked_orders(),
        };
        let mut checks = Vec::from(orders::checks(&desk));
        checks.extend(stock::checks(&desk));
        checks.extend(payments::checks(&desk));
        checks.extend(messages::checks(&desk));
        let mut notes = Vec::new();
        let parked: Vec<String> = desk.parked_orders.iter().map(OrderId::to_string).collect();
        if !parked.is_empty() {
            notes.push(Warning {
                what: "orders that wait in order-parking-queue for a person",
                ids: parked,
            });
        }
        notes.extend(messages::duplicate_mails(&desk));
        ConsistencyReport { checks, notes }
    }
}
