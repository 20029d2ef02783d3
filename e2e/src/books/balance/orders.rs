//! Orders, and what their clients know of them.

use std::collections::BTreeSet;

use ::orders::Order;
use domain::{OrderId, OrderStatus, UserId};

use super::{
    super::{Check, Finding, Rule},
    Desk,
};

pub(super) fn checks(desk: &Desk<'_>) -> [Check; 5] {
    let known: BTreeSet<OrderId> = desk
        .claims
        .iter()
        .flat_map(|claim| &claim.order_ids)
        .copied()
        .collect();
    let customers: BTreeSet<UserId> = desk.claims.iter().map(|claim| claim.user_id).collect();
    [
        Check::each(
            Rule::AcceptedIsThere,
            known.iter().map(|id| {
                let is_lost = !desk.orders.contains_key(id);
                is_lost.then(|| Finding::new(id, "its client was told 202, and it is not there"))
            }),
        ),
        Check::each(
            Rule::OneOrderForOneKey,
            desk.claims.iter().map(|claim| {
                let several = claim.order_ids.len() > 1;
                let ids = || claim.order_ids.iter().map(OrderId::to_string).collect::<Vec<_>>();
                several.then(|| Finding::new(&claim.key, format!("became orders {}", ids().join(", "))))
            }),
        ),
        Check::each(
            Rule::NoUnknownOrder,
            desk.books
                .orders
                .iter()
                .filter(|order| customers.contains(&order.user_id))
                .map(|order| {
                    let is_unknown = !known.contains(&order.order_id);
                    is_unknown.then(|| Finding::new(order.order_id, "its client was never told of it"))
                }),
        ),
        Check::each(
            Rule::OrderEnded,
            desk.books.orders.iter().map(|order| {
                let stuck = !order.status.is_final() && !desk.parked.contains(&order.order_id);
                stuck.then(|| Finding::new(order.order_id, format!("is {} and nothing moves", order.status)))
            }),
        ),
        Check::each(
            Rule::LawfulHistory,
            desk.books.orders.iter().map(|order| {
                let statuses: Vec<&str> = order
                    .history
                    .iter()
                    .map(|change| change.status.as_str())
                    .collect();
                let detail = || format!("is {} after {}", order.status, statuses.join(", "));
                (!is_lawful(order)).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
    ]
}

fn is_lawful(order: &Order) -> bool {
    let statuses: Vec<OrderStatus> = order.history.iter().map(|change| change.status).collect();
    statuses.first() == Some(&OrderStatus::Pending)
        && statuses.last() == Some(&order.status)
        && statuses.windows(2).all(|pair| pair[0].may_become(pair[1]))
}
