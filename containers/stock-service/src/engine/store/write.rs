//! Writes the changes of a batch.

use domain::Timestamp;
use event_publishing::outbox::RELAY_DELAY;
use events::stock::ReservedItem;
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::{engine::Changes, model::Reservation};

/// Writes a batch's changes and its events atomically. Fails with a conflict, and writes nothing, if a row is
/// no longer as it was read.
///
/// It is a single statement. Without an explicit transaction it takes one round trip, and never holds locks
/// while the database waits for this process, however slow or dead the process is.
pub(in crate::engine) async fn write(
    connection: &mut PgConnection,
    changes: &Changes,
    now: Timestamp,
) -> Result<(), StoreError> {
    let new = &changes.new_reservations;
    let new_ids: Vec<Uuid> = new.iter().map(|reservation| reservation.id).collect();
    let new_statuses: Vec<&str> = new
        .iter()
        .map(|reservation| reservation.status.as_str())
        .collect();
    let new_expiries: Vec<Option<Timestamp>> = new.iter().map(|reservation| reservation.expires_at).collect();

    let items = || {
        new.iter()
            .flat_map(|reservation| reservation.items.iter().map(move |item| (reservation, item)))
    };
    let item_reservations: Vec<Uuid> = items().map(|(reservation, _)| reservation.id).collect();
    let item_products: Vec<Uuid> = items().map(|(_, item)| item.product_id.0).collect();
    let item_quantities: Vec<i64> = items().map(|(_, item)| item.quantity).collect();
    let item_available: Vec<Option<i64>> = items()
        .map(|(reservation, item)| available_if_short(reservation, item))
        .collect();

    let updated = &changes.updated_reservations;
    let updated_ids: Vec<Uuid> = updated.iter().map(|change| change.id).collect();
    let updated_from: Vec<&str> = updated.iter().map(|change| change.from.as_str()).collect();
    let updated_to: Vec<&str> = updated.iter().map(|change| change.to.as_str()).collect();

    let adjusted = &changes.new_adjustments;
    let adjustment_ids: Vec<Uuid> = adjusted.iter().map(|new| new.adjustment.id).collect();
    let adjustment_products: Vec<Uuid> = adjusted.iter().map(|new| new.adjustment.product_id.0).collect();
    let adjustment_deltas: Vec<i64> = adjusted.iter().map(|new| new.adjustment.delta).collect();
    let adjustment_reasons: Vec<&str> = adjusted
        .iter()
        .map(|new| new.adjustment.reason.as_str())
        .collect();
    let adjustment_applied: Vec<bool> = adjusted.iter().map(|new| new.applied).collect();
    let adjustment_quantities: Vec<i64> = adjusted.iter().map(|new| new.level.quantity).collect();
    let adjustment_reserved: Vec<i64> = adjusted.iter().map(|new| new.level.reserved).collect();

    let levels = &changes.levels;
    let level_products: Vec<Uuid> = levels.iter().map(|change| change.id.0).collect();
    let level_quantities_from: Vec<i64> = levels.iter().map(|change| change.from.quantity).collect();
    let level_reserved_from: Vec<i64> = levels.iter().map(|change| change.from.reserved).collect();
    let level_quantities: Vec<i64> = levels.iter().map(|change| change.to.quantity).collect();
    let level_reserved: Vec<i64> = levels.iter().map(|change| change.to.reserved).collect();
    let level_times_from: Vec<Timestamp> = levels.iter().map(|change| change.from.updated_at).collect();
    let level_times: Vec<Timestamp> = levels.iter().map(|change| change.to.updated_at).collect();

    let events = &changes.events;
    let event_ids: Vec<Uuid> = events.iter().map(|event| event.event_id.0).collect();
    let event_sources: Vec<&str> = events.iter().map(|event| event.source.as_str()).collect();
    let event_types: Vec<&str> = events.iter().map(|event| event.detail_type.as_str()).collect();
    let event_details: Vec<&str> = events.iter().map(|event| event.detail.as_str()).collect();

    if new_ids.is_empty() && updated_ids.is_empty() && adjustment_ids.is_empty() {
        return Ok(());
    }
    sqlx::query_scalar!(
        "WITH inserted_reservations AS (
             INSERT INTO inventory.reservations (reservation_id, status, expires_at, created_at, updated_at)
             SELECT id, status, ends, $1, $1
             FROM UNNEST($2::uuid[], $3::text[], $4::timestamptz[]) AS new (id, status, ends)
         ), inserted_items AS (
             INSERT INTO inventory.reservation_items (reservation_id, product_id, quantity, available)
             SELECT * FROM UNNEST($5::uuid[], $6::uuid[], $7::bigint[], $8::bigint[])
         ), inserted_adjustments AS (
             INSERT INTO inventory.stock_adjustments
                 (adjustment_id, product_id, delta, reason, applied, quantity, reserved, created_at)
             SELECT new.*, $1
             FROM UNNEST($9::uuid[], $10::uuid[], $11::bigint[], $12::text[], $13::boolean[],
                         $14::bigint[], $15::bigint[]) AS new
         ), inserted_events AS (
             INSERT INTO outbox.inventory_events
                 (event_id, source, detail_type, detail, occurred_at, next_attempt_at)
             SELECT new.*, $1, $16 FROM UNNEST($17::uuid[], $18::text[], $19::text[], $20::text[]) AS new
         ), updated_reservations AS (
             UPDATE inventory.reservations SET status = new.status, updated_at = $1
             FROM UNNEST($21::uuid[], $22::text[], $23::text[]) AS new (id, seen, status)
             WHERE reservation_id = new.id AND reservations.status = new.seen
             RETURNING 1
         ), updated_levels AS (
             UPDATE inventory.stock
             SET quantity = new.quantity, reserved = new.reserved, updated_at = new.updated_at
             FROM UNNEST($24::uuid[], $25::bigint[], $26::bigint[], $27::timestamptz[],
                         $28::bigint[], $29::bigint[], $30::timestamptz[])
                  AS new (id, seen_quantity, seen_reserved, seen_at, quantity, reserved, updated_at)
             WHERE product_id = new.id AND stock.updated_at = new.seen_at
               AND stock.quantity = new.seen_quantity AND stock.reserved = new.seen_reserved
             RETURNING 1
         )
         SELECT CASE WHEN (SELECT count(*) FROM updated_reservations) <> cardinality($21)
                       OR (SELECT count(*) FROM updated_levels) <> cardinality($24)
                     THEN inventory.stale_stock() END",
        now,
        &new_ids,
        &new_statuses as _,
        &new_expiries as _,
        &item_reservations,
        &item_products,
        &item_quantities,
        &item_available as _,
        &adjustment_ids,
        &adjustment_products,
        &adjustment_deltas,
        &adjustment_reasons as _,
        &adjustment_applied,
        &adjustment_quantities,
        &adjustment_reserved,
        now + RELAY_DELAY,
        &event_ids,
        &event_sources as _,
        &event_types as _,
        &event_details as _,
        &updated_ids,
        &updated_from as _,
        &updated_to as _,
        &level_products,
        &level_quantities_from,
        &level_reserved_from,
        &level_times_from,
        &level_quantities,
        &level_reserved,
        &level_times,
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Available units of an item that was short when its reservation was refused.
fn available_if_short(reservation: &Reservation, item: &ReservedItem) -> Option<i64> {
    let shortage = reservation
        .shortages
        .iter()
        .find(|shortage| shortage.product_id == item.product_id)?;
    Some(shortage.available)
}
