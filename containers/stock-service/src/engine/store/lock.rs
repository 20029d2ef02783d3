//! Locking what a batch concerns.
//!
//! Locks are taken in one order everywhere: reservations by id, then stock by product id. A batch needs the
//! same few statements however large it is.

use std::collections::{BTreeMap, BTreeSet};

use domain::{ProductId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    StoreError,
    read::{read_items, reservation},
};
use crate::{
    engine::{Concerned, Snapshot},
    model::{Adjusted, Adjustment, Level, Reservation},
};

/// Locks the rows that a batch concerns. The time is asked for once they are locked: nothing that was decided
/// before can then be later.
pub(in crate::engine) async fn lock(
    connection: &mut PgConnection,
    rows: &Concerned,
    now: impl Fn() -> Timestamp,
    low_threshold: i64,
) -> Result<Snapshot, StoreError> {
    let reservations = lock_reservations(connection, &rows.reservations).await?;
    let adjustments = read_adjustments(connection, &rows.adjustments).await?;
    open_stock(connection, &rows.opened, now()).await?;

    let held = reservations
        .values()
        .flat_map(|reservation| &reservation.items)
        .map(|item| item.product_id);
    let products: BTreeSet<ProductId> = rows.products.iter().copied().chain(held).collect();
    let levels = lock_levels(connection, &products).await?;
    Ok(Snapshot {
        now: now(),
        low_threshold,
        levels,
        reservations,
        adjustments,
    })
}

async fn lock_reservations(
    connection: &mut PgConnection,
    ids: &BTreeSet<Uuid>,
) -> Result<BTreeMap<Uuid, Reservation>, StoreError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<Uuid> = ids.iter().copied().collect();
    let rows = sqlx::query!(
        "SELECT reservation_id, status, expires_at FROM reservations
         WHERE reservation_id = ANY($1) ORDER BY reservation_id FOR UPDATE",
        &ids,
    )
    .fetch_all(&mut *connection)
    .await?;

    let mut reservations = BTreeMap::new();
    for row in rows {
        let id = row.reservation_id;
        reservations.insert(id, reservation(id, row.status, row.expires_at)?);
    }
    read_items(connection, &mut reservations).await?;
    Ok(reservations)
}

/// Adjustments never change, so they are read without a lock.
async fn read_adjustments(
    connection: &mut PgConnection,
    ids: &BTreeSet<Uuid>,
) -> Result<BTreeMap<Uuid, Adjusted>, StoreError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<Uuid> = ids.iter().copied().collect();
    let rows = sqlx::query!(
        "SELECT adjustment_id, product_id, delta, reason, applied, quantity, reserved, created_at
         FROM stock_adjustments WHERE adjustment_id = ANY($1)",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    let adjusted = rows.into_iter().map(|row| {
        let adjustment = Adjustment {
            id: row.adjustment_id,
            product_id: ProductId(row.product_id),
            delta: row.delta,
            reason: row.reason,
        };
        let level = Level {
            quantity: row.quantity,
            reserved: row.reserved,
            updated_at: row.created_at,
        };
        (
            row.adjustment_id,
            Adjusted {
                adjustment,
                applied: row.applied,
                level,
            },
        )
    });
    Ok(adjusted.collect())
}

/// Makes the stock row of products that are in the catalogue and have none.
async fn open_stock(
    connection: &mut PgConnection,
    products: &BTreeSet<ProductId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if products.is_empty() {
        return Ok(());
    }
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

async fn lock_levels(
    connection: &mut PgConnection,
    products: &BTreeSet<ProductId>,
) -> Result<BTreeMap<ProductId, Level>, StoreError> {
    if products.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<Uuid> = products.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        "SELECT product_id, quantity, reserved, updated_at FROM stock
         WHERE product_id = ANY($1) ORDER BY product_id FOR UPDATE",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let level = Level {
                quantity: row.quantity,
                reserved: row.reserved,
                updated_at: row.updated_at,
            };
            (ProductId(row.product_id), level)
        })
        .collect())
}
