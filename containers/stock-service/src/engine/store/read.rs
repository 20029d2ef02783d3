//! Reading without a lock.

use std::collections::{BTreeMap, BTreeSet};

use domain::{ProductId, Timestamp};
use events::stock::ReservedItem;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::StoreError;
use crate::{
    engine::{AffectedRows, Snapshot},
    model::{Adjustment, AdjustmentOutcome, Reservation, ReservationStatus, Shortage, StockLevel},
};

/// Whether the database answers.
pub async fn ping(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

/// A reservation as the store has it.
pub async fn find_reservation(pool: &PgPool, id: Uuid) -> Result<Option<Reservation>, StoreError> {
    let (mut found, _) = read_reservations_and_levels(pool, &[id], &[]).await?;
    Ok(found.remove(&id))
}

/// A product's level; none when it has no stock row.
pub async fn find_level(pool: &PgPool, product_id: ProductId) -> Result<Option<StockLevel>, StoreError> {
    let row = sqlx::query_as!(
        StockLevel,
        "SELECT quantity, reserved, updated_at FROM stock WHERE product_id = $1",
        product_id.0,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row)
}

/// Reservations that still hold pieces and whose time has run out at `now`, the longest ago first.
pub async fn find_expired_reservations(
    pool: &PgPool,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Uuid>, StoreError> {
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

/// Reads what commands concern into a batch's snapshot, and makes the stock rows that they want to be there.
pub(in crate::engine) async fn read(
    connection: &mut PgConnection,
    rows: &AffectedRows,
    snapshot: &mut Snapshot,
) -> Result<(), StoreError> {
    if !rows.adjustments.is_empty() {
        read_adjustments(connection, &rows.adjustments, snapshot).await?;
    }
    if !rows.stock_to_create.is_empty() {
        create_missing_stock(connection, &rows.stock_to_create, snapshot.now).await?;
    }
    let reservations: Vec<Uuid> = rows.reservations.iter().copied().collect();
    let products: Vec<Uuid> = rows.products.iter().map(|id| id.0).collect();
    let (reservations, levels) = read_reservations_and_levels(connection, &reservations, &products).await?;
    snapshot.reservations.extend(reservations);
    snapshot.levels.extend(levels);
    Ok(())
}

/// Reservations, and the levels of `products` and of what the reservations hold: one statement, because each
/// costs a way to the database and back, and because it sees all of it at one moment.
async fn read_reservations_and_levels(
    executor: impl PgExecutor<'_>,
    reservations: &[Uuid],
    products: &[Uuid],
) -> Result<(BTreeMap<Uuid, Reservation>, BTreeMap<ProductId, StockLevel>), StoreError> {
    let rows = sqlx::query!(
        r#"WITH known AS (
             SELECT reservation_id, status, expires_at FROM reservations WHERE reservation_id = ANY($1)
         ), items AS (
             SELECT reservation_id, product_id, quantity, available
             FROM known JOIN reservation_items USING (reservation_id)
         )
         SELECT reservation_id AS "reservation_id?", NULL::uuid AS "product_id?", status AS "status?",
                NULL::bigint AS "quantity?", NULL::bigint AS "part?", expires_at AS "at?"
         FROM known
         UNION ALL
         SELECT reservation_id, product_id, NULL, quantity, available, NULL FROM items
         UNION ALL
         SELECT NULL, product_id, NULL, quantity, reserved, updated_at FROM stock
         WHERE product_id IN (SELECT UNNEST($2::uuid[]) UNION SELECT product_id FROM items)"#,
        reservations,
        products,
    )
    .fetch_all(executor)
    .await?;

    let (mut found, mut levels) = (BTreeMap::new(), BTreeMap::new());
    for row in &rows {
        if let (Some(id), Some(status)) = (row.reservation_id, &row.status) {
            found.insert(id, parse_reservation(id, status, row.at)?);
        }
    }
    for row in rows {
        let (Some(product_id), Some(quantity)) = (row.product_id.map(ProductId), row.quantity) else {
            continue;
        };
        match (row.reservation_id, row.part, row.at) {
            (Some(id), available, _) => {
                if let Some(reservation) = found.get_mut(&id) {
                    add_item(reservation, ReservedItem { product_id, quantity }, available);
                }
            }
            (None, Some(reserved), Some(updated_at)) => {
                let level = StockLevel {
                    quantity,
                    reserved,
                    updated_at,
                };
                levels.insert(product_id, level);
            }
            _ => {}
        }
    }
    for reservation in found.values_mut() {
        reservation.items.sort_by_key(|item| item.product_id);
        reservation.shortages.sort_by_key(|short| short.product_id);
    }
    Ok((found, levels))
}

/// A reservation without its items.
fn parse_reservation(
    id: Uuid,
    status: &str,
    expires_at: Option<Timestamp>,
) -> Result<Reservation, StoreError> {
    let Some(status) = ReservationStatus::parse(status) else {
        let status = status.to_owned();
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

/// `available` is there when the reservation was refused for want of this item.
fn add_item(reservation: &mut Reservation, item: ReservedItem, available: Option<i64>) {
    reservation.shortages.extend(available.map(|available| Shortage {
        product_id: item.product_id,
        requested: item.quantity,
        available,
    }));
    reservation.items.push(item);
}

async fn read_adjustments(
    connection: &mut PgConnection,
    ids: &BTreeSet<Uuid>,
    snapshot: &mut Snapshot,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = ids.iter().copied().collect();
    let rows = sqlx::query!(
        "SELECT adjustment_id, product_id, delta, reason, applied, quantity, reserved, created_at
         FROM stock_adjustments WHERE adjustment_id = ANY($1)",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let adjustment = Adjustment {
            id: row.adjustment_id,
            product_id: ProductId(row.product_id),
            delta: row.delta,
            reason: row.reason,
        };
        let level = StockLevel {
            quantity: row.quantity,
            reserved: row.reserved,
            updated_at: row.created_at,
        };
        let adjusted = AdjustmentOutcome {
            adjustment,
            applied: row.applied,
            level,
        };
        snapshot.adjustments.insert(row.adjustment_id, adjusted);
    }
    Ok(())
}

/// Makes the stock row of products that are in the catalogue and have none.
async fn create_missing_stock(
    connection: &mut PgConnection,
    products: &BTreeSet<ProductId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = products.iter().map(|id| id.0).collect();
    sqlx::query!(
        "INSERT INTO stock (product_id, quantity, reserved, updated_at)
         SELECT id, 0, 0, $2 FROM products WHERE id = ANY($1) ORDER BY id
         ON CONFLICT (product_id) DO NOTHING",
        &ids,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
