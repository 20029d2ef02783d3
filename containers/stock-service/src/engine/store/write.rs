//! Writes the changes of a batch.

use domain::{ProductId, Timestamp};
use event_publishing::outbox::RELAY_DELAY;
use serde::Serialize;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::StoreError;
use crate::{
    engine::{Change, Changes},
    model::{AdjustmentOutcome, Reservation, ReservationStatus, StockLevel},
};

/// Writes a batch's changes and its events atomically. Fails with a conflict, and writes nothing, if a row is
/// no longer as it was read.
///
/// It is a single statement. Without an explicit transaction it takes one round trip, and never holds locks
/// while the database waits for this process, however slow or dead the process is.
///
/// The rows of a table are one JSON parameter. Events are a parameter per column, because their details are
/// JSON already and make up most of the bytes.
pub(in crate::engine) async fn write(
    connection: &mut PgConnection,
    changes: &Changes,
    now: Timestamp,
) -> Result<(), StoreError> {
    let new_reservations: Vec<_> = changes
        .new_reservations
        .iter()
        .map(NewReservation::from)
        .collect();
    let new_items: Vec<_> = changes.new_reservations.iter().flat_map(new_items).collect();
    let new_adjustments: Vec<_> = changes.new_adjustments.iter().map(NewAdjustment::from).collect();
    let updated_reservations: Vec<_> = changes
        .updated_reservations
        .iter()
        .map(UpdatedReservation::from)
        .collect();
    let updated_levels: Vec<_> = changes.levels.iter().map(UpdatedLevel::from).collect();
    if new_reservations.is_empty() && new_adjustments.is_empty() && updated_reservations.is_empty() {
        return Ok(());
    }

    let events = &changes.events;
    let event_ids: Vec<Uuid> = events.iter().map(|event| event.event_id.0).collect();
    let event_sources: Vec<&str> = events.iter().map(|event| event.source.as_str()).collect();
    let event_types: Vec<&str> = events.iter().map(|event| event.detail_type.as_str()).collect();
    let event_details: Vec<&str> = events.iter().map(|event| event.detail.as_str()).collect();

    sqlx::query_scalar!(
        "WITH inserted_reservations AS (
             INSERT INTO inventory.reservations (reservation_id, status, expires_at, created_at, updated_at)
             SELECT reservation_id, status, expires_at, $1, $1
             FROM jsonb_to_recordset($2) AS new (reservation_id uuid, status text, expires_at timestamptz)
         ), inserted_items AS (
             INSERT INTO inventory.reservation_items (reservation_id, product_id, quantity, available)
             SELECT reservation_id, product_id, quantity, available
             FROM jsonb_to_recordset($3)
                  AS new (reservation_id uuid, product_id uuid, quantity bigint, available bigint)
         ), inserted_adjustments AS (
             INSERT INTO inventory.stock_adjustments
                 (adjustment_id, product_id, delta, reason, applied, quantity, reserved, created_at)
             SELECT adjustment_id, product_id, delta, reason, applied, quantity, reserved, $1
             FROM jsonb_to_recordset($4)
                  AS new (adjustment_id uuid, product_id uuid, delta bigint, reason text, applied boolean,
                          quantity bigint, reserved bigint)
         ), updated_reservations AS (
             UPDATE inventory.reservations SET status = new.status, updated_at = $1
             FROM jsonb_to_recordset($5) AS new (reservation_id uuid, seen_status text, status text)
             WHERE reservations.reservation_id = new.reservation_id
               AND reservations.status = new.seen_status
             RETURNING 1
         ), updated_levels AS (
             UPDATE inventory.stock
             SET quantity = new.quantity, reserved = new.reserved, updated_at = new.updated_at
             FROM jsonb_to_recordset($6)
                  AS new (product_id uuid, seen_quantity bigint, seen_reserved bigint, seen_at timestamptz,
                          quantity bigint, reserved bigint, updated_at timestamptz)
             WHERE stock.product_id = new.product_id AND stock.updated_at = new.seen_at
               AND stock.quantity = new.seen_quantity AND stock.reserved = new.seen_reserved
             RETURNING 1
         ), inserted_events AS (
             INSERT INTO outbox.inventory_events
                 (event_id, source, detail_type, detail, occurred_at, next_attempt_at)
             SELECT event_id, source, detail_type, detail, $1, $7
             FROM UNNEST($8::uuid[], $9::text[], $10::text[], $11::text[])
                  AS new (event_id, source, detail_type, detail)
         )
         SELECT CASE WHEN (SELECT count(*) FROM updated_reservations) <> jsonb_array_length($5)
                       OR (SELECT count(*) FROM updated_levels) <> jsonb_array_length($6)
                     THEN inventory.stale_stock() END",
        now,
        Json(new_reservations) as _,
        Json(new_items) as _,
        Json(new_adjustments) as _,
        Json(updated_reservations) as _,
        Json(updated_levels) as _,
        now + RELAY_DELAY,
        &event_ids,
        &event_sources as _,
        &event_types as _,
        &event_details as _,
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

#[derive(Serialize)]
struct NewReservation {
    reservation_id: Uuid,
    status: ReservationStatus,
    expires_at: Option<Timestamp>,
}

impl From<&Reservation> for NewReservation {
    fn from(reservation: &Reservation) -> Self {
        Self {
            reservation_id: reservation.id,
            status: reservation.status,
            expires_at: reservation.expires_at,
        }
    }
}

#[derive(Serialize)]
struct NewItem {
    reservation_id: Uuid,
    product_id: ProductId,
    quantity: i64,
    /// Available units of an item that was short when its reservation was refused.
    available: Option<i64>,
}

fn new_items(reservation: &Reservation) -> impl Iterator<Item = NewItem> {
    reservation.items.iter().map(|item| NewItem {
        reservation_id: reservation.id,
        product_id: item.product_id,
        quantity: item.quantity,
        available: reservation
            .shortages
            .iter()
            .find(|shortage| shortage.product_id == item.product_id)
            .map(|shortage| shortage.available),
    })
}

#[derive(Serialize)]
struct NewAdjustment<'a> {
    adjustment_id: Uuid,
    product_id: ProductId,
    delta: i64,
    reason: &'a str,
    applied: bool,
    quantity: i64,
    reserved: i64,
}

impl<'a> From<&'a AdjustmentOutcome> for NewAdjustment<'a> {
    fn from(outcome: &'a AdjustmentOutcome) -> Self {
        Self {
            adjustment_id: outcome.adjustment.id,
            product_id: outcome.adjustment.product_id,
            delta: outcome.adjustment.delta,
            reason: &outcome.adjustment.reason,
            applied: outcome.applied,
            quantity: outcome.level.quantity,
            reserved: outcome.level.reserved,
        }
    }
}

/// Written only if the reservation still has the status `seen_status`.
#[derive(Serialize)]
struct UpdatedReservation {
    reservation_id: Uuid,
    seen_status: ReservationStatus,
    status: ReservationStatus,
}

impl From<&Change<Uuid, ReservationStatus>> for UpdatedReservation {
    fn from(change: &Change<Uuid, ReservationStatus>) -> Self {
        Self {
            reservation_id: change.id,
            seen_status: change.from,
            status: change.to,
        }
    }
}

/// Written only if the stock still has the values `seen_…`.
#[derive(Serialize)]
struct UpdatedLevel {
    product_id: ProductId,
    seen_quantity: i64,
    seen_reserved: i64,
    seen_at: Timestamp,
    quantity: i64,
    reserved: i64,
    updated_at: Timestamp,
}

impl From<&Change<ProductId, StockLevel>> for UpdatedLevel {
    fn from(change: &Change<ProductId, StockLevel>) -> Self {
        Self {
            product_id: change.id,
            seen_quantity: change.from.quantity,
            seen_reserved: change.from.reserved,
            seen_at: change.from.updated_at,
            quantity: change.to.quantity,
            reserved: change.to.reserved,
            updated_at: change.to.updated_at,
        }
    }
}
