//! Stock and reservations.

use std::collections::BTreeMap;

use domain::{OrderId, OrderStatus};
use uuid::Uuid;

use super::{
    super::{Check, Finding, Reservation, Rule},
    Desk,
};

pub(super) fn checks(desk: &Desk<'_>) -> [Check; 5] {
    let books = desk.books;
    let of_order: BTreeMap<Uuid, &Reservation> = books.reservations.iter().map(|r| (r.id, r)).collect();
    [
        Check::each(
            Rule::QuantityAddsUp,
            books.products.iter().map(|product| {
                let should_be = product.brought - product.sold;
                (product.quantity != should_be).then(|| {
                    let detail = format!(
                        "{} in the house, {} brought - {} sold = {should_be}",
                        product.quantity, product.brought, product.sold
                    );
                    Finding::new(product.id, detail)
                })
            }),
        ),
        Check::each(
            Rule::ReservedAddsUp,
            books.products.iter().map(|product| {
                let detail = || format!("{} set aside, {} reserved", product.reserved, product.held);
                (product.reserved != product.held).then(|| Finding::new(product.id, detail()))
            }),
        ),
        Check::none(
            Rule::NothingHeldForNobody,
            books
                .reservations
                .iter()
                .filter(|reservation| reservation.status == "reserved")
                .filter_map(|reservation| {
                    let id = OrderId(reservation.id);
                    let status = desk.status(id);
                    let is_wanted =
                        status.is_some_and(|status| !status.is_final()) || desk.parked.contains(&id);
                    (!is_wanted).then(|| Finding::new(id, format!("is held; the order is {}", said(status))))
                }),
        ),
        Check::each(
            Rule::CompletedIsSold,
            desk.in_status(OrderStatus::Completed).map(|order| {
                let bought = order.pieces();
                match of_order.get(&order.order_id.0) {
                    None => Some("has no reservation".to_owned()),
                    Some(held) if held.status != "committed" => {
                        Some(format!("its goods are {}", held.status))
                    }
                    Some(held) if held.pieces != bought => {
                        Some(format!("bought {bought:?} and was sold {:?}", held.pieces))
                    }
                    Some(_) => None,
                }
                .map(|detail| Finding::new(order.order_id, detail))
            }),
        ),
        Check::each(
            Rule::SoldIsCompleted,
            books
                .reservations
                .iter()
                .filter(|reservation| reservation.status == "committed")
                .map(|reservation| {
                    let id = OrderId(reservation.id);
                    let status = desk.status(id);
                    let is_well = status == Some(OrderStatus::Completed) || desk.parked.contains(&id);
                    (!is_well).then(|| Finding::new(id, format!("is sold; the order is {}", said(status))))
                }),
        ),
    ]
}

fn said(status: Option<OrderStatus>) -> &'static str {
    status.map_or("not there", OrderStatus::as_str)
}
