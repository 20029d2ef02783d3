//! Invariants of payments: the provider's charges and refunds against the orders.

use std::collections::BTreeMap;

use ::orders::{Payment as PaymentState, PaymentIssue};
use domain::{OrderId, OrderStatus};

use super::{
    super::{Check, Finding, Invariant, Payment},
    CheckContext,
};

pub(super) fn checks(context: &CheckContext<'_>) -> [Check; 5] {
    let mut charges: BTreeMap<OrderId, Vec<&Payment>> = BTreeMap::new();
    for payment in context.snapshot.payments.iter().filter(|payment| payment.charged) {
        if let Some(id) = payment.order_id {
            charges.entry(id).or_default().push(payment);
        }
    }
    let charges_of = |id: OrderId| charges.get(&id).map_or(&[][..], Vec::as_slice);
    [
        Check::expect_all(
            Invariant::CompletedOrdersChargedInFull,
            context.orders_in_status(OrderStatus::Completed).map(|order| {
                let net: Vec<i64> = charges_of(order.order_id)
                    .iter()
                    .map(|payment| payment.amount - payment.refunded)
                    .collect();
                let detail = || format!("costs {}, but the net charges are {net:?}", order.total_amount);
                (net != [order.total_amount]).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
        Check::expect_none(
            Invariant::NoDoubleCharge,
            charges
                .iter()
                .filter(|(_, payments)| payments.len() > 1)
                .map(|(id, payments)| {
                    let ids: Vec<&str> = payments.iter().map(|payment| payment.id.as_str()).collect();
                    Finding::new(id, format!("was charged by payments {}", ids.join(", ")))
                }),
        ),
        Check::expect_all(
            Invariant::UncompletedChargesRefunded,
            context
                .snapshot
                .payments
                .iter()
                .filter(|payment| payment.charged)
                .filter(|payment| {
                    let status = payment.order_id.and_then(|id| context.order_status(id));
                    let is_parked = payment
                        .order_id
                        .is_some_and(|id| context.parked_orders.contains(&id));
                    // An operator has to refund the customer in another way.
                    let refund_failed = payment
                        .order_id
                        .and_then(|id| context.orders.get(&id))
                        .is_some_and(|order| order.payment_issue == Some(PaymentIssue::RefundFailed));
                    status != Some(OrderStatus::Completed) && !is_parked && !refund_failed
                })
                .map(|payment| {
                    let order = payment
                        .order_id
                        .map_or("no order".to_owned(), |id| format!("order {id}"));
                    let detail = || {
                        format!(
                            "charged {} for {order}, refunded {}",
                            payment.amount, payment.refunded
                        )
                    };
                    (payment.refunded != payment.amount).then(|| Finding::new(&payment.id, detail()))
                }),
        ),
        Check::expect_all(
            Invariant::PaymentStateRecorded,
            context.final_orders().map(|order| {
                let is_charged = !charges_of(order.order_id).is_empty();
                let is_recorded = match order.status {
                    OrderStatus::Completed => order.payment == Some(PaymentState::Captured),
                    _ if is_charged => order.payment == Some(PaymentState::Refunded),
                    _ => !matches!(
                        order.payment,
                        Some(PaymentState::Captured | PaymentState::Refunded)
                    ),
                };
                let charged = if is_charged { "charged" } else { "not charged" };
                let detail = || {
                    format!(
                        "is {} and {charged}, but its payment state is {:?}",
                        order.status, order.payment
                    )
                };
                (!is_recorded).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
        Check::expect_all(
            Invariant::PaymentIssuesFlagged,
            context
                .snapshot
                .payments
                .iter()
                .map(|payment| (payment, payment.order_id.and_then(|id| context.orders.get(&id))))
                .filter(|(payment, order)| {
                    let is_closed = order.is_some_and(|order| order.payment_closed);
                    let misses_refund = payment.has_failed_refund && payment.refunded < payment.amount;
                    payment.disputed || (is_closed && misses_refund)
                })
                .map(|(payment, order)| {
                    let is_flagged = order.is_some_and(|order| order.payment_issue.is_some());
                    (!is_flagged).then(|| Finding::new(&payment.id, "its order is not flagged".to_owned()))
                }),
        ),
    ]
}
