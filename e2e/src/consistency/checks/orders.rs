//! Invariants of orders, and of the responses that clients received.

use std::collections::{BTreeMap, BTreeSet};

use ::orders::Order;
use domain::{FailureReason, OrderId, OrderStatus, UserId};

use super::{
    super::{Authentication, Check, Finding, Invariant},
    CheckContext,
};

pub(super) fn checks(context: &CheckContext<'_>) -> [Check; 6] {
    let mut authentications: BTreeMap<OrderId, Authentication> = BTreeMap::new();
    for observation in &context.observations.requests {
        if let Some(authentication) = observation.authentication {
            authentications.extend(observation.order_ids.iter().map(|id| (*id, authentication)));
        }
    }
    let acknowledged: BTreeSet<OrderId> = context
        .observations
        .requests
        .iter()
        .flat_map(|observation| &observation.order_ids)
        .copied()
        .collect();
    let customers: BTreeSet<UserId> = context
        .observations
        .requests
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
            context.observations.requests.iter().map(|observation| {
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
                    .status_history()
                    .map(|(status, _)| status.as_str())
                    .collect();
                let detail = || {
                    let history = statuses.join(", ");
                    format!("is {}, but its status history is {history}", order.status)
                };
                (!has_valid_transitions(order)).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
        Check::expect_all(
            Invariant::OutcomeMatchesAuthentication,
            context.final_orders().filter_map(|order| {
                let authentication = *authentications.get(&order.order_id)?;
                let detail = || {
                    format!(
                        "is {} ({:?}), but the authentication was {authentication:?}",
                        order.status, order.reason
                    )
                };
                let is_allowed = allows_outcome(authentication, order);
                Some((!is_allowed).then(|| Finding::new(order.order_id, detail())))
            }),
        ),
    ]
}

/// Whether an order can end so after this response of its customer. Any order can fail because a service
/// failed permanently, and its customer can cancel it while it waits.
fn allows_outcome(authentication: Authentication, order: &Order) -> bool {
    use Authentication::{Approved, ApprovedLate, Refused, Unanswered};
    match (order.status, order.reason) {
        (OrderStatus::Completed, _) => matches!(authentication, Approved | ApprovedLate),
        (OrderStatus::Failed, Some(FailureReason::PaymentDeclined)) => authentication == Refused,
        (OrderStatus::Failed, Some(FailureReason::AuthenticationTimeout)) => {
            matches!(authentication, ApprovedLate | Refused | Unanswered)
        }
        (OrderStatus::Failed, Some(FailureReason::InternalError)) | (OrderStatus::Cancelled, _) => true,
        // The stock was reserved before the customer had to authenticate.
        (OrderStatus::Failed, Some(FailureReason::InsufficientStock) | None)
        | (OrderStatus::Pending | OrderStatus::Processing, _) => false,
    }
}

fn has_valid_transitions(order: &Order) -> bool {
    let statuses: Vec<OrderStatus> = order.status_history().map(|(status, _)| status).collect();
    statuses.first() == Some(&OrderStatus::Pending)
        && statuses.last() == Some(&order.status)
        && statuses.windows(2).all(|pair| pair[0].can_transition_to(pair[1]))
}
