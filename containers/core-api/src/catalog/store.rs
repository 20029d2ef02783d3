//! The store of products in PostgreSQL. A change and its event commit in one transaction.

use std::collections::HashMap;

use database::DatabaseError;
use domain::{Clock, Money, ProductId, TaxRate, Timestamp, clock::truncate_to_micros};
use event_publishing::{CatalogOutbox, RelayHandle};
use events::{
    Envelope, EventContext, EventData, OutboxEvent, TraceParent,
    product::{ProductCreated, ProductDeleted, ProductUpdated},
};
use sqlx::{PgPool, Postgres, Transaction, types::Json};
use uuid::Uuid;

use super::{
    Category, Description, ImageUrl, Name, Page, Product, ProductDetails, ProductQuery, Translations,
    pagination,
    product_row::{parse_price, parse_tax_rate, select_products},
};

/// The store of products. Clones share the connection pool.
#[derive(Clone, Debug)]
pub struct Catalog {
    pool: PgPool,
    relay: RelayHandle,
    clock: Clock,
}

/// The data of a product that an order copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductPrice {
    /// The English name.
    pub name: String,
    /// The unit price, tax included.
    pub price: Money,
    pub tax_rate: TaxRate,
}

/// Why a product was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProductUpdateError {
    /// The version in the database is not the one that the caller has read.
    #[error("the product has changed since it was read")]
    VersionConflict,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for ProductUpdateError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl Catalog {
    /// `relay` is notified of the events that each change commits to the outbox.
    #[must_use]
    pub fn new(pool: PgPool, relay: RelayHandle, clock: Clock) -> Self {
        Self { pool, relay, clock }
    }

    pub async fn list(&self, query: &ProductQuery) -> Result<Page, DatabaseError> {
        pagination::fetch_page(&self.pool, query).await
    }

    /// Returns `None` when the product does not exist or is deleted.
    pub async fn find(&self, id: ProductId) -> Result<Option<Product>, DatabaseError> {
        let row = select_products!(["AND id = $1"], id.0)
            .fetch_optional(&self.pool)
            .await?;
        row.map(Product::try_from).transpose()
    }

    /// The names and prices of products, in one query. The map has no entry for a product that does not exist
    /// or is deleted.
    pub async fn find_prices(
        &self,
        ids: &[ProductId],
    ) -> Result<HashMap<ProductId, ProductPrice>, DatabaseError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            "SELECT id, name, price, currency, tax_rate FROM catalog.products
             WHERE id = ANY($1) AND deleted_at IS NULL",
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let price = parse_price(row.price, &row.currency)?.money();
                Ok((
                    ProductId(row.id),
                    ProductPrice {
                        name: row.name,
                        price,
                        tax_rate: parse_tax_rate(&row.tax_rate)?,
                    },
                ))
            })
            .collect()
    }

    /// The available units of products, in one query and for display only: stock-service decides when it
    /// reserves stock for an order. The map has no entry for a product without a stock row.
    pub async fn available_stock(&self, ids: &[ProductId]) -> Result<HashMap<ProductId, i64>, DatabaseError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"SELECT product_id, quantity - reserved AS "available!" FROM inventory.stock
               WHERE product_id = ANY($1)"#,
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (ProductId(row.product_id), row.available))
            .collect())
    }

    /// All categories that have products, with the number of products, ordered by slug.
    pub async fn categories(&self) -> Result<Vec<(Category, i64)>, DatabaseError> {
        let rows = sqlx::query!(
            r#"SELECT category AS "category: Category", count(*) AS "count!" FROM catalog.products
               WHERE deleted_at IS NULL GROUP BY category ORDER BY category"#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.category, row.count)).collect())
    }

    pub async fn create(
        &self,
        details: ProductDetails,
        trace: TraceParent,
    ) -> Result<Product, DatabaseError> {
        let now = self.now();
        let id = ProductId::new(now);
        let product = Product {
            id,
            details,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let event = product_event(ProductCreated(product.snapshot()), id, now, trace);

        let mut transaction = self.pool.begin().await?;
        let ProductDetails {
            name,
            description,
            translations,
            price,
            tax_rate,
            category,
            image_url,
        } = &product.details;
        sqlx::query!(
            "INSERT INTO catalog.products (id, name, description, translations, price, currency, tax_rate,
                                           category, image_url, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
            product.id.0,
            name.as_str(),
            description.as_str(),
            Json(translations) as _,
            price.money().amount(),
            price.money().currency().code(),
            tax_rate.as_str(),
            category.as_str(),
            image_url.as_ref().map(ImageUrl::as_str),
            now,
        )
        .execute(&mut *transaction)
        .await?;
        self.commit_with_event(transaction, event, now).await?;
        Ok(product)
    }

    /// Changes the details of `product`, as the caller has read it. Equal details do not create a new
    /// version.
    pub async fn update(
        &self,
        product: Product,
        details: ProductDetails,
        trace: TraceParent,
    ) -> Result<Product, ProductUpdateError> {
        if product.details == details {
            return Ok(product);
        }
        let now = self.now();
        let read_version = product.version;
        let product = Product {
            details,
            version: read_version + 1,
            updated_at: now,
            ..product
        };
        let event = product_event(ProductUpdated(product.snapshot()), product.id, now, trace);

        let mut transaction = self.pool.begin().await?;
        let ProductDetails {
            name,
            description,
            translations,
            price,
            tax_rate,
            category,
            image_url,
        } = &product.details;
        let updated = sqlx::query!(
            "UPDATE catalog.products
             SET name = $3, description = $4, translations = $5, price = $6, currency = $7, tax_rate = $8,
                 category = $9, image_url = $10, updated_at = $11, version = version + 1
             WHERE id = $1 AND version = $2 AND deleted_at IS NULL",
            product.id.0,
            read_version,
            name.as_str(),
            description.as_str(),
            Json(translations) as _,
            price.money().amount(),
            price.money().currency().code(),
            tax_rate.as_str(),
            category.as_str(),
            image_url.as_ref().map(ImageUrl::as_str),
            now,
        )
        .execute(&mut *transaction)
        .await?;
        if updated.rows_affected() == 0 {
            return Err(ProductUpdateError::VersionConflict);
        }
        self.commit_with_event(transaction, event, now).await?;
        Ok(product)
    }

    /// Deletes `product`, as the caller has read it. The row is kept and marked as deleted, because orders
    /// refer to it.
    pub async fn delete(&self, product: &Product, trace: TraceParent) -> Result<(), ProductUpdateError> {
        let now = self.now();
        let deleted = ProductDeleted {
            product_id: product.id,
            version: product.version + 1,
        };
        let event = product_event(deleted, product.id, now, trace);

        let mut transaction = self.pool.begin().await?;
        let updated = sqlx::query!(
            "UPDATE catalog.products SET deleted_at = $3, updated_at = $3, version = version + 1
             WHERE id = $1 AND version = $2 AND deleted_at IS NULL",
            product.id.0,
            product.version,
            now,
        )
        .execute(&mut *transaction)
        .await?;
        if updated.rows_affected() == 0 {
            return Err(ProductUpdateError::VersionConflict);
        }
        self.commit_with_event(transaction, event, now).await?;
        Ok(())
    }

    /// Checks that the database responds.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Commits a change together with its event and notifies the relay, which publishes the event.
    async fn commit_with_event(
        &self,
        mut transaction: Transaction<'_, Postgres>,
        event: OutboxEvent,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        CatalogOutbox::enqueue(&mut transaction, std::slice::from_ref(&event), now).await?;
        transaction.commit().await?;
        self.relay.notify_committed(vec![event]);
        Ok(())
    }

    /// The current time in the precision of PostgreSQL.
    fn now(&self) -> Timestamp {
        truncate_to_micros(self.clock.now())
    }
}

/// An outbox event of a product. The product id is the correlation id of all its events.
pub(super) fn product_event<D: EventData>(
    data: D,
    id: ProductId,
    at: Timestamp,
    trace: TraceParent,
) -> OutboxEvent {
    let context = EventContext {
        correlation_id: id.0,
        causation_id: None,
        traceparent: trace,
    };
    OutboxEvent::from(&Envelope::new(data, at, context))
}
