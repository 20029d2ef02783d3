//! Reading without a lock.

use std::collections::BTreeMap;

use domain::{ProductId, Timestamp};
use events::stock::ReservedItem;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::StoreError;
use crate::model::{Level, Reservation, Shortage, Status};

/// Whether the database answers.
pub async fn ping(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

/// A reservation as the store has it.
pub async fn find_reservation(pool: &PgPool, id: Uuid) -> Result<Option<Reservation>, StoreError> {
    let row = sqlx::query!(
        "SELECT status, expires_at FROM reservations WHERE reservation_id = $1",
        id
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let reservation = reservation(id, row.status, row.expires_at)?;
    let mut found = BTreeMap::from([(id, reservation)]);
    read_items(pool, &mut found).await?;
    Ok(found.remove(&id))
}

/// A product's level; none when it has no stock row.
pub async fn find_level(pool: &PgPool, product_id: ProductId) -> Result<Option<Level>, StoreError> {
    let row = sqlx::query_as!(
        Level,
        "SELECT quantity, reserved, updated_at FROM stock WHERE product_id = $1",
        product_id.0,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row)
}

/// Reservations that still hold pieces and whose time has run out at `now`, the longest ago first.
pub async fn lapsed_reservations(pool: &PgPool, now: Timestamp, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT reservation_id FROM reservations
         WHERE status = 'reserved' AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
        now,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(ids)
}

/// A reservation whose items are still to be read.
pub(super) fn reservation(
    id: Uuid,
    status: String,
    expires_at: Option<Timestamp>,
) -> Result<Reservation, StoreError> {
    let Some(status) = Status::parse(&status) else {
        return Err(StoreError::UnknownStatus { id, status });
    };
    Ok(Reservation {
        id,
        status,
        items: Vec::new(),
        expires_at,
        shortages: Vec::new(),
    })
}

/// Items never change, so they are read without a lock.
pub(super) async fn read_items(
    connection: impl PgExecutor<'_>,
    reservations: &mut BTreeMap<Uuid, Reservation>,
) -> Result<(), StoreError> {
    if reservations.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = reservations.keys().copied().collect();
    let items = sqlx::query!(
        "SELECT reservation_id, product_id, quantity, available FROM reservation_items
         WHERE reservation_id = ANY($1) ORDER BY reservation_id, product_id",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    for row in items {
        let Some(reservation) = reservations.get_mut(&row.reservation_id) else {
            continue;
        };
        let product_id = ProductId(row.product_id);
        reservation.items.push(ReservedItem {
            product_id,
            quantity: row.quantity,
        });
        if let Some(available) = row.available {
            reservation.shortages.push(Shortage {
                product_id,
                requested: row.quantity,
                available,
            });
        }
    }
    Ok(())
}
