//! Invariants of stock and reservations.

use std::collections::BTreeMap;

use domain::{OrderId, OrderStatus};
use uuid::Uuid;

use super::{
    super::{Check, Finding, Invariant, Reservation},
    CheckContext,
};

pub(super) fn checks(context: &CheckContext<'_>) -> [Check; 5] {
    let snapshot = context.snapshot;
    let reservations_by_order: BTreeMap<Uuid, &Reservation> = snapshot
        .reservations
        .iter()
        .map(|reservation| (reservation.id, reservation))
        .collect();
    [
        Check::expect_all(
            Invariant::QuantityMatchesMovements,
            snapshot.products.iter().map(|product| {
                let expected = product.adjusted - product.committed;
                (product.quantity != expected).then(|| {
                    let detail = format!(
                        "quantity is {}, but {} adjusted - {} committed = {expected}",
                        product.quantity, product.adjusted, product.committed
                    );
                    Finding::new(product.id, detail)
                })
            }),
        ),
        Check::expect_all(
            Invariant::ReservedMatchesReservations,
            snapshot.products.iter().map(|product| {
                let detail = || {
                    format!(
                        "reserved is {}, but open reservations hold {}",
                        product.reserved, product.open_reserved
                    )
                };
                (product.reserved != product.open_reserved).then(|| Finding::new(product.id, detail()))
            }),
        ),
        Check::expect_none(
            Invariant::NoOrphanReservations,
            snapshot
                .reservations
                .iter()
                .filter(|reservation| reservation.status == "reserved")
                .filter_map(|reservation| {
                    let id = OrderId(reservation.id);
                    let status = context.order_status(id);
                    let is_needed = status.is_some_and(|status| !status.is_final())
                        || context.parked_orders.contains(&id);
                    (!is_needed).then(|| {
                        Finding::new(
                            id,
                            format!("is reserved, but the order is {}", status_text(status)),
                        )
                    })
                }),
        ),
        Check::expect_all(
            Invariant::CompletedOrdersCommitStock,
            context.orders_in_status(OrderStatus::Completed).map(|order| {
                let ordered = order.quantities();
                match reservations_by_order.get(&order.order_id.0) {
                    None => Some("has no reservation".to_owned()),
                    Some(reservation) if reservation.status != "committed" => {
                        Some(format!("its reservation is {}", reservation.status))
                    }
                    Some(reservation) if reservation.quantities != ordered => Some(format!(
                        "ordered {ordered:?}, but committed {:?}",
                        reservation.quantities
                    )),
                    Some(_) => None,
                }
                .map(|detail| Finding::new(order.order_id, detail))
            }),
        ),
        Check::expect_all(
            Invariant::CommittedStockHasCompletedOrder,
            snapshot
                .reservations
                .iter()
                .filter(|reservation| reservation.status == "committed")
                .map(|reservation| {
                    let id = OrderId(reservation.id);
                    let status = context.order_status(id);
                    let is_valid =
                        status == Some(OrderStatus::Completed) || context.parked_orders.contains(&id);
                    (!is_valid).then(|| {
                        Finding::new(
                            id,
                            format!("is committed, but the order is {}", status_text(status)),
                        )
                    })
                }),
        ),
    ]
}

fn status_text(status: Option<OrderStatus>) -> &'static str {
    status.map_or("missing", OrderStatus::as_str)
}
