//! Locks the rows that a batch affects.
//!
//! The lock order is the same everywhere to avoid deadlocks: reservations by id, then stock by product id.

use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::engine::AffectedRows;

/// Locks the affected rows that exist.
pub(in crate::engine) async fn lock(
    connection: &mut PgConnection,
    rows: &AffectedRows,
) -> Result<(), StoreError> {
    let reservations: Vec<Uuid> = rows.reservations.iter().copied().collect();
    let products: Vec<Uuid> = rows.products.iter().map(|id| id.0).collect();
    sqlx::query!(
        "SELECT FROM inventory.reservations WHERE reservation_id = ANY($1)
         ORDER BY reservation_id FOR UPDATE",
        &reservations,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "SELECT FROM inventory.stock
         WHERE product_id IN (SELECT UNNEST($1::uuid[])
                              UNION SELECT product_id FROM inventory.reservation_items
                                    WHERE reservation_id = ANY($2))
         ORDER BY product_id FOR UPDATE",
        &products,
        &reservations,
    )
    .execute(connection)
    .await?;
    Ok(())
}
