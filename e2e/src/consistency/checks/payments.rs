//! What the payment provider took and gave back.

use std::collections::BTreeMap;

use ::orders::Payment as Known;
use domain::{OrderId, OrderStatus};

use super::{
    super::{Check, Finding, Invariant, Payment},
    CheckContext,
};

pub(super) fn checks(desk: &CheckContext<'_>) -> [Check; 4] {
    let mut charges: BTreeMap<OrderId, Vec<&Payment>> = BTreeMap::new();
    for payment in desk.snapshot.payments.iter().filter(|payment| payment.charged) {
        if let Some(id) = payment.order_id {
            charges.entry(id).or_default().push(payment);
        }
    }
    let charges_of = |id: OrderId| charges.get(&id).map_or(&[][..], Vec::as_slice);
    [
        Check::expect_all(
            Invariant::CompletedOrdersChargedInFull,
            desk.orders_in_status(OrderStatus::Completed).map(|order| {
                let kept: Vec<i64> = charges_of(order.order_id)
                    .iter()
                    .map(|payment| payment.amount - payment.refunded)
                    .collect();
                let detail = || format!("costs {} and paid {kept:?}", order.total_amount);
                (kept != [order.total_amount]).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
        Check::expect_none(
            Invariant::NoDoubleCharge,
            charges
                .iter()
                .filter(|(_, payments)| payments.len() > 1)
                .map(|(id, payments)| {
                    let ids: Vec<&str> = payments.iter().map(|payment| payment.id.as_str()).collect();
                    Finding::new(id, format!("was charged by {}", ids.join(", ")))
                }),
        ),
        Check::expect_all(
            Invariant::UncompletedChargesRefunded,
            desk.snapshot
                .payments
                .iter()
                .filter(|payment| payment.charged)
                .filter(|payment| {
                    let status = payment.order_id.and_then(|id| desk.order_status(id));
                    let is_parked = payment
                        .order_id
                        .is_some_and(|id| desk.parked_orders.contains(&id));
                    status != Some(OrderStatus::Completed) && !is_parked
                })
                .map(|payment| {
                    let order = payment
                        .order_id
                        .map_or("no order".to_owned(), |id| id.to_string());
                    let detail = || {
                        format!(
                            "took {} for {order}, gave back {}",
                            payment.amount, payment.refunded
                        )
                    };
                    (payment.refunded != payment.amount).then(|| Finding::new(&payment.id, detail()))
                }),
        ),
        Check::expect_all(
            Invariant::PaymentStateRecorded,
            desk.final_orders().map(|order| {
                let was_charged = !charges_of(order.order_id).is_empty();
                let is_known = match order.status {
                    OrderStatus::Completed => order.payment == Some(Known::Captured),
                    _ if was_charged => order.payment == Some(Known::Refunded),
                    _ => !matches!(order.payment, Some(Known::Captured | Known::Refunded)),
                };
                let charged = if was_charged {
                    "was charged"
                } else {
                    "was not charged"
                };
                let detail = || format!("is {}, {charged}, and says {:?}", order.status, order.payment);
                (!is_known).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
    ]
}
