//! Stock and reservations.

use std::collections::BTreeMap;

use domain::{OrderId, OrderStatus};
use uuid::Uuid;

use super::{
    super::{Check, Finding, Invariant, Reservation},
    CheckContext,
};

pub(super) fn checks(desk: &CheckContext<'_>) -> [Check; 5] {
    let books = desk.snapshot;
    let of_order: BTreeMap<Uuid, &Reservation> = books.reservations.iter().map(|r| (r.id, r)).collect();
    [
        Check::expect_all(
            Invariant::QuantityMatchesMovements,
            books.products.iter().map(|product| {
                let should_be = product.adjusted - product.committed;
                (product.quantity != should_be).then(|| {
                    let detail = format!(
                        "{} in the house, {} brought - {} sold = {should_be}",
                        product.quantity, product.adjusted, product.committed
                    );
                    Finding::new(product.id, detail)
                })
            }),
        ),
        Check::expect_all(
            Invariant::ReservedMatchesReservations,
            books.products.iter().map(|product| {
                let detail = || {
                    format!(
                        "{} set aside, {} reserved",
                        product.reserved, product.open_reserved
                    )
                };
                (product.reserved != product.open_reserved).then(|| Finding::new(product.id, detail()))
            }),
        ),
        Check::expect_none(
            Invariant::NoOrphanReservations,
            books
                .reservations
                .iter()
                .filter(|reservation| reservation.status == "reserved")
                .filter_map(|reservation| {
                    let id = OrderId(reservation.id);
                    let status = desk.order_status(id);
                    let is_wanted =
                        status.is_some_and(|status| !status.is_final()) || desk.parked_orders.contains(&id);
                    (!is_wanted)
                        .then(|| Finding::new(id, format!("is held; the order is {}", status_text(status))))
                }),
        ),
        Check::expect_all(
            Invariant::CompletedOrdersCommitStock,
            desk.orders_in_status(OrderStatus::Completed).map(|order| {
                let bought = order.quantities();
                match of_order.get(&order.order_id.0) {
                    None => Some("has no reservation".to_owned()),
                    Some(held) if held.status != "committed" => {
                        Some(format!("its goods are {}", held.status))
                    }
                    Some(held) if held.quantities != bought => {
                        Some(format!("bought {bought:?} and was sold {:?}", held.quantities))
                    }
                    Some(_) => None,
                }
                .map(|detail| Finding::new(order.order_id, detail))
            }),
        ),
        Check::expect_all(
            Invariant::CommittedStockHasCompletedOrder,
            books
                .reservations
                .iter()
                .filter(|reservation| reservation.status == "committed")
                .map(|reservation| {
                    let id = OrderId(reservation.id);
                    let status = desk.order_status(id);
                    let is_well = status == Some(OrderStatus::Completed) || desk.parked_orders.contains(&id);
                    (!is_well)
                        .then(|| Finding::new(id, format!("is sold; the order is {}", status_text(status))))
                }),
        ),
    ]
}

fn status_text(status: Option<OrderStatus>) -> &'static str {
    status.map_or("not there", OrderStatus::as_str)
}
