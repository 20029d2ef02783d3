//! Orders, and what their clients know of them.

use std::collections::BTreeSet;

use ::orders::Order;
use domain::{OrderId, OrderStatus, UserId};

use super::{
    super::{Check, Finding, Invariant},
    CheckContext,
};

pub(super) fn checks(desk: &CheckContext<'_>) -> [Check; 5] {
    let known: BTreeSet<OrderId> = desk
        .observations
        .iter()
        .flat_map(|claim| &claim.order_ids)
        .copied()
        .collect();
    let customers: BTreeSet<UserId> = desk.observations.iter().map(|claim| claim.user_id).collect();
    [
        Check::expect_all(
            Invariant::AcceptedOrdersExist,
            known.iter().map(|id| {
                let is_lost = !desk.orders.contains_key(id);
                is_lost.then(|| Finding::new(id, "its client was told 202, and it is not there"))
            }),
        ),
        Check::expect_all(
            Invariant::OneOrderPerIdempotencyKey,
            desk.observations.iter().map(|claim| {
                let several = claim.order_ids.len() > 1;
                let ids = || claim.order_ids.iter().map(OrderId::to_string).collect::<Vec<_>>();
                several.then(|| {
                    Finding::new(
                        &claim.idempotency_key,
                        format!("became orders {}", ids().join(", ")),
                    )
                })
            }),
        ),
        Check::expect_all(
            Invariant::NoUnacknowledgedOrders,
            desk.snapshot
                .orders
                .iter()
                .filter(|order| customers.contains(&order.user_id))
                .map(|order| {
                    let is_unknown = !known.contains(&order.order_id);
                    is_unknown.then(|| Finding::new(order.order_id, "its client was never told of it"))
                }),
        ),
        Check::expect_all(
            Invariant::OrdersReachFinalStatus,
            desk.snapshot.orders.iter().map(|order| {
                let stuck = !order.status.is_final() && !desk.parked_orders.contains(&order.order_id);
                stuck.then(|| Finding::new(order.order_id, format!("is {} and nothing moves", order.status)))
            }),
        ),
        Check::expect_all(
            Invariant::ValidTransitions,
            desk.snapshot.orders.iter().map(|order| {
                let statuses: Vec<&str> = order
                    .history
                    .iter()
                    .map(|change| change.status.as_str())
                    .collect();
                let detail = || format!("is {} after {}", order.status, statuses.join(", "));
                (!has_valid_transitions(order)).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
    ]
}

fn has_valid_transitions(order: &Order) -> bool {
    let statuses: Vec<OrderStatus> = order.history.iter().map(|change| change.status).collect();
    statuses.first() == Some(&OrderStatus::Pending)
        && statuses.last() == Some(&order.status)
        && statuses.windows(2).all(|pair| pair[0].can_transition_to(pair[1]))
}
