//! Balancing: every rule against every line of the books that it is about.

mod goods;
mod messages;
mod money;
mod orders;

use std::collections::{BTreeMap, BTreeSet};

use ::orders::Order;
use domain::{OrderId, OrderStatus};

use super::{Books, Claim, Note, Verdict};

/// The books, with what the rules look up in them again and again.
struct Desk<'a> {
    books: &'a Books,
    claims: &'a [Claim],
    orders: BTreeMap<OrderId, &'a Order>,
    parked: BTreeSet<OrderId>,
}

impl Desk<'_> {
    /// Where an order stands; none when it is not there.
    fn status(&self, id: OrderId) -> Option<OrderStatus> {
        self.orders.get(&id).map(|order| order.status)
    }

    fn in_status(&self, wanted: OrderStatus) -> impl Iterator<Item = &Order> {
        let orders = self.books.orders.iter();
        orders.filter(move |order| order.status == wanted)
    }

    /// Orders that have ended and wait for nobody: whatever is said of an end must hold for them.
    fn settled(&self) -> impl Iterator<Item = &Order> {
        let orders = self.books.orders.iter();
        orders.filter(|order| order.status.is_final() && !self.parked.contains(&order.order_id))
    }
}

impl Books {
    /// Balances the books, among themselves and against what clients know. Without claims nothing is known of what
    /// clients were told, and the rules about that hold for nothing.
    #[must_use]
    pub fn balance(&self, claims: &[Claim]) -> Verdict {
        let desk = Desk {
            books: self,
            claims,
            orders: self.orders.iter().map(|order| (order.order_id, order)).collect(),
            parked: self.parked(),
        };
        let mut checks = Vec::from(orders::checks(&desk));
        checks.extend(goods::checks(&desk));
        checks.extend(money::checks(&desk));
        checks.extend(messages::checks(&desk));
        let mut notes = Vec::new();
        let parked: Vec<String> = desk.parked.iter().map(OrderId::to_string).collect();
        if !parked.is_empty() {
            notes.push(Note {
                what: "orders that wait in order-parking-queue for a person",
                ids: parked,
            });
        }
        notes.extend(messages::repeated_mails(&desk));
        Verdict { checks, notes }
    }
}
