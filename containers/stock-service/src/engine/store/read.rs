//! Reads without locks.

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

/// Fails if the database does not respond.
pub async fn ping(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

/// Returns the stored reservation; callers apply [`Reservation::as_of`] to account for its expiry.
pub async fn find_reservation(pool: &PgPool, id: Uuid) -> Result<Option<Reservation>, StoreError> {
    let (mut found, _) = read_reservations_and_levels(pool, &[id], &[]).await?;
    Ok(found.remove(&id))
}

/// Returns `None` if the product has no stock row.
pub async fn find_level(pool: &PgPool, product_id: ProductId) -> Result<Option<StockLevel>, StoreError> {
    let row = sqlx::query_as!(
        StockLevel,
        "SELECT quantity, reserved, updated_at FROM inventory.stock WHERE product_id = $1",
        product_id.0,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row)
}

/// The levels that have changed at or after `since`.
pub async fn find_levels_changed_since(
    pool: &PgPool,
    since: Timestamp,
) -> Result<Vec<(ProductId, StockLevel)>, StoreError> {
    let rows = sqlx::query!(
        "SELECT product_id, quantity, reserved, updated_at FROM inventory.stock WHERE updated_at >= $1",
        since,
    )
    .fetch_all(pool)
    .await?;
    let level = |quantity, reserved, updated_at| StockLevel {
        quantity,
        reserved,
        updated_at,
    };
    let levels = rows.into_iter().map(|row| {
        let level = level(row.quantity, row.reserved, row.updated_at);
        (ProductId(row.product_id), level)
    });
    Ok(levels.collect())
}

/// Ids of reservations that still hold units although they expired at or before `now`, longest expired first.
pub async fn find_expired_reservations(
    pool: &PgPool,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT reservation_id FROM inventory.reservations
         WHERE status = 'reserved' AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
        now,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(ids)
}

/// Reads the affected rows into a batch's snapshot, after creating the stock rows that commands need.
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

/// Reads reservations, and the levels of `products` and of the reservations' items. It is one statement to
/// save round trips and to read a consistent state.
async fn read_reservations_and_levels(
    executor: impl PgExecutor<'_>,
    reservations: &[Uuid],
    products: &[Uuid],
) -> Result<(BTreeMap<Uuid, Reservation>, BTreeMap<ProductId, StockLevel>), StoreError> {
    let rows = sqlx::query!(
        r#"WITH known AS (
             SELECT reservation_id, status, expires_at FROM inventory.reservations
             WHERE reservation_id = ANY($1)
         ), items AS (
             SELECT reservation_id, product_id, quantity, available
             FROM known JOIN inventory.reservation_items USING (reservation_id)
         )
         SELECT reservation_id AS "reservation_id?", NULL::uuid AS "product_id?", status AS "status?",
                NULL::bigint AS "quantity?", NULL::bigint AS "part?", expires_at AS "at?"
         FROM known
         UNION ALL
         SELECT reservation_id, product_id, NULL, quantity, available, NULL FROM items
         UNION ALL
         SELECT NULL, product_id, NULL, quantity, reserved, updated_at FROM inventory.stock
         WHERE product_id IN (SELECT UNNEST($2::uuid[]) UNION SELECT product_id FROM items)"#,
        reservations,
        products,
    )
    .fetch_all(executor)
    .await?;

    let (mut found, mut levels) = (BTreeMap::new(), BTreeMap::new());
    // The statement returns three kinds of rows: reservations (with a status), their items, and stock levels.
    // The column `part` is the available units of a short item, or the reserved units of a stock level.
    for row in &rows {
        if let (Some(id), Some(status)) = (row.reservation_id, &row.status) {
            found.insert(id, parse_reservation(id, status, row.at)?);
        }
    }
    for row in rows {
        let (Some(product_id), Some(quantity)) = (row.product_id.map(ProductId), row.quantity) else {
            continue;
        };
        if let Some(id) = row.reservation_id {
            let reservation = found
                .get_mut(&id)
                .expect("the statement joins items with the reservations that it returns");
            add_item(reservation, ReservedItem { product_id, quantity }, row.part);
        } else {
            let level = StockLevel {
                quantity,
                reserved: row.part.expect("stock.reserved is NOT NULL"),
                updated_at: row.at.expect("stock.updated_at is NOT NULL"),
            };
            levels.insert(product_id, level);
        }
    }
    for reservation in found.values_mut() {
        reservation.items.sort_by_key(|item| item.product_id);
        reservation.shortages.sort_by_key(|short| short.product_id);
    }
    Ok((found, levels))
}

/// Returns a reservation without items.
fn parse_reservation(
    id: Uuid,
    status: &str,
    expires_at: Option<Timestamp>,
) -> Result<Reservation, StoreError> {
    let Ok(status) = status.parse::<ReservationStatus>() else {
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

/// `available` is set if this item was short when the reservation was refused.
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
         FROM inventory.stock_adjustments WHERE adjustment_id = ANY($1)",
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
        let outcome = AdjustmentOutcome {
            adjustment,
            applied: row.applied,
            level,
        };
        snapshot.adjustments.insert(row.adjustment_id, outcome);
    }
    Ok(())
}

/// Creates the missing stock rows of products that are in the catalog.
async fn create_missing_stock(
    connection: &mut PgConnection,
    products: &BTreeSet<ProductId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = products.iter().map(|id| id.0).collect();
    sqlx::query!(
        "INSERT INTO inventory.stock (product_id, quantity, reserved, updated_at)
         SELECT id, 0, 0, $2 FROM catalog.products WHERE id = ANY($1) ORDER BY id
         ON CONFLICT (product_id) DO NOTHING",
        &ids,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
