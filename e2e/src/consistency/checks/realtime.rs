//! Invariants of connected customers: what their clients saw against the stored history of the orders.

use std::collections::BTreeMap;

use ::orders::{HistoryEntry, Order, OrderChange};
use domain::{OrderId, UserId};

use super::{
    super::{Check, ConnectedCustomer, Finding, Invariant},
    CheckContext,
};
use crate::realtime::{OrderView, change_names};

pub(super) fn checks(context: &CheckContext<'_>) -> [Check; 3] {
    let customers: BTreeMap<UserId, &ConnectedCustomer> = context
        .observations
        .connected_customers
        .iter()
        .map(|customer| (customer.user_id, customer))
        .collect();
    let nothing_seen = OrderView::default();
    [
        Check::expect_all(
            Invariant::ConnectedCustomersSawHistory,
            context.final_orders().filter_map(|order| {
                let customer = customers.get(&order.user_id)?;
                let view = customer.orders.get(&order.order_id).unwrap_or(&nothing_seen);
                Some((!has_seen_to_end(view, order)).then(|| difference(view, order)))
            }),
        ),
        Check::expect_none(
            Invariant::NoInvalidUpdates,
            customers
                .values()
                .flat_map(|customer| &customer.invalid_messages)
                .map(|(order_id, problem)| Finding::new(order_id, problem)),
        ),
        Check::expect_none(
            Invariant::NoForeignUpdates,
            customers.values().flat_map(|customer| {
                let foreign = customer.orders.keys().filter(|id| {
                    let order: Option<&&Order> = context.orders.get(id);
                    order.is_none_or(|order| order.user_id != customer.user_id)
                });
                foreign.map(|id: &OrderId| {
                    Finding::new(id, format!("was sent to customer {}", customer.user_id))
                })
            }),
        ),
    ]
}

/// Whether the client has seen the stored changes and the outcome. Only changes after the final status may be
/// missing.
fn has_seen_to_end(view: &OrderView, order: &Order) -> bool {
    let is_final =
        |entry: &HistoryEntry| matches!(entry.change, OrderChange::Status(status) if status.is_final());
    let until_end = order.history.iter().position(is_final).map(|end| end + 1);
    order.history.starts_with(&view.changes)
        && until_end.is_some_and(|length| view.changes.len() >= length)
        && (view.status, view.reason, view.is_final) == (Some(order.status), order.reason, true)
}

fn difference(view: &OrderView, order: &Order) -> Finding {
    let describe = |changes: &[HistoryEntry]| {
        let named = change_names(changes).into_iter().zip(changes);
        let numbered: Vec<String> = (1..)
            .zip(named)
            .map(|(number, (name, entry))| format!("{number} {name} {}", entry.at.format("%T%.6f")))
            .collect();
        numbered.join(", ")
    };
    let detail = format!(
        "expected [{}], {} ({:?}); its customer's client saw [{}], {} ({:?}){}",
        describe(&order.history),
        order.status,
        order.reason,
        describe(&view.changes),
        view.status.map_or("no status", |status| status.as_str()),
        view.reason,
        if view.is_final { "" } else { ", not final" },
    );
    Finding::new(order.order_id, detail)
}
