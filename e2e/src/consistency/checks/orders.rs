//! Invariants of orders, and of the responses that clients received.

use std::collections::BTreeSet;

use ::orders::Order;
use domain::{OrderId, OrderStatus, UserId};

use super::{
    super::{Check, Finding, Invariant},
    CheckContext,
};

pub(super) fn checks(context: &CheckContext<'_>) -> [Check; 5] {
    let acknowledged: BTreeSet<OrderId> = context
        .observations
        .iter()
        .flat_map(|observation| &observation.order_ids)
        .copied()
        .collect();
    let customers: BTreeSet<UserId> = context
        .observations
        .iter()
        .map(|observation| observation.user_id)
        .collect();
    [
        Check::expect_all(
            Invariant::AcceptedOrdersExist,
            acknowledged.iter().map(|id| {
                let is_lost = !context.orders.contains_key(id);
                is_lost.then(|| Finding::new(id, "was accepted with 202, but does not exist"))
            }),
        ),
        Check::expect_all(
            Invariant::OneOrderPerIdempotencyKey,
            context.observations.iter().map(|observation| {
                let has_several = observation.order_ids.len() > 1;
                let ids = || {
                    observation
                        .order_ids
                        .iter()
                        .map(OrderId::to_string)
                        .collect::<Vec<_>>()
                };
                has_several.then(|| {
                    Finding::new(
                        &observation.idempotency_key,
                        format!("created orders {}", ids().join(", ")),
                    )
                })
            }),
        ),
        Check::expect_all(
            Invariant::NoUnacknowledgedOrders,
            context
                .snapshot
                .orders
                .iter()
                .filter(|order| customers.contains(&order.user_id))
                .map(|order| {
                    let is_unacknowledged = !acknowledged.contains(&order.order_id);
                    is_unacknowledged
                        .then(|| Finding::new(order.order_id, "exists, but no response named it"))
                }),
        ),
        Check::expect_all(
            Invariant::OrdersReachFinalStatus,
            context.snapshot.orders.iter().map(|order| {
                let is_stuck = !order.status.is_final()
                    && !order.awaits_payment_action()
                    && !context.parked_orders.contains(&order.order_id);
                is_stuck.then(|| Finding::new(order.order_id, format!("is {} and not parked", order.status)))
            }),
        ),
        Check::expect_all(
            Invariant::ValidTransitions,
            context.snapshot.orders.iter().map(|order| {
                let statuses: Vec<&str> = order
                    .history
                    .iter()
                    .map(|change| change.status.as_str())
                    .collect();
                let detail = || {
                    let history = statuses.join(", ");
                    format!("is {}, but its status history is {history}", order.status)
                };
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
