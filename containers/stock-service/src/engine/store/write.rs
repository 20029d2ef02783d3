//! Writing what a batch changed.

use bus::PostgresOutbox;
use domain::Timestamp;
use events::stock::ReservedItem;
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::{engine::Changes, model::Reservation};

/// Writes what a batch changed, and its events into the outbox.
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
    let new_ends: Vec<Option<Timestamp>> = new.iter().map(|reservation| reservation.expires_at).collect();

    let items = || {
        new.iter()
            .flat_map(|reservation| reservation.items.iter().map(move |item| (reservation, item)))
    };
    let item_reservations: Vec<Uuid> = items().map(|(reservation, _)| reservation.id).collect();
    let item_products: Vec<Uuid> = items().map(|(_, item)| item.product_id.0).collect();
    let item_quantities: Vec<i64> = items().map(|(_, item)| item.quantity).collect();
    let item_available: Vec<Option<i64>> = items()
        .map(|(reservation, item)| short_of(reservation, item))
        .collect();

    let moved_ids: Vec<Uuid> = changes.moved_reservations.iter().map(|(id, _)| *id).collect();
    let moved_statuses: Vec<&str> = changes
        .moved_reservations
        .iter()
        .map(|(_, status)| status.as_str())
        .collect();

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

    let level_products: Vec<Uuid> = changes.levels.iter().map(|(id, _)| id.0).collect();
    let level_quantities: Vec<i64> = changes.levels.iter().map(|(_, level)| level.quantity).collect();
    let level_reserved: Vec<i64> = changes.levels.iter().map(|(_, level)| level.reserved).collect();

    if new_ids.is_empty() && moved_ids.is_empty() && adjustment_ids.is_empty() {
        return Ok(());
    }
    // One statement, because each costs a way to the database and back while the rows are locked.
    sqlx::query!(
        "WITH opened AS (
             INSERT INTO reservations (reservation_id, status, expires_at, created_at, updated_at)
             SELECT id, status, ends, $1, $1
             FROM UNNEST($2::uuid[], $3::text[], $4::timestamptz[]) AS new (id, status, ends)
         ), items AS (
             INSERT INTO reservation_items (reservation_id, product_id, quantity, available)
             SELECT * FROM UNNEST($5::uuid[], $6::uuid[], $7::bigint[], $8::bigint[])
         ), moved AS (
             UPDATE reservations SET status = new.status, updated_at = $1
             FROM UNNEST($9::uuid[], $10::text[]) AS new (id, status)
             WHERE reservation_id = new.id
         ), adjusted AS (
             INSERT INTO stock_adjustments
                 (adjustment_id, product_id, delta, reason, applied, quantity, reserved, created_at)
             SELECT new.*, $1
             FROM UNNEST($11::uuid[], $12::uuid[], $13::bigint[], $14::text[], $15::boolean[],
                         $16::bigint[], $17::bigint[]) AS new
         )
         UPDATE stock SET quantity = new.quantity, reserved = new.reserved, updated_at = $1
         FROM UNNEST($18::uuid[], $19::bigint[], $20::bigint[]) AS new (id, quantity, reserved)
         WHERE product_id = new.id",
        now,
        &new_ids,
        &new_statuses as _,
        &new_ends as _,
        &item_reservations,
        &item_products,
        &item_quantities,
        &item_available as _,
        &moved_ids,
        &moved_statuses as _,
        &adjustment_ids,
        &adjustment_products,
        &adjustment_deltas,
        &adjustment_reasons as _,
        &adjustment_applied,
        &adjustment_quantities,
        &adjustment_reserved,
        &level_products,
        &level_quantities,
        &level_reserved,
    )
    .execute(&mut *connection)
    .await?;
    PostgresOutbox::enqueue(connection, &changes.events, now).await?;
    Ok(())
}

/// What could be bought of an item when its reservation was refused for want of it.
fn short_of(reservation: &Reservation, item: &ReservedItem) -> Option<i64> {
    let short = reservation
        .shortages
        .iter()
        .find(|short| short.product_id == item.product_id)?;
    Some(short.available)
}
