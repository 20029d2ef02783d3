//! Seeding: inserts or updates the products of a catalog file.

use std::fmt;

use database::DatabaseError;
use domain::{Clock, Currency, ProductId, TaxRate, clock::truncate_to_micros};
use event_publishing::CatalogOutbox;
use events::{
    OutboxEvent, TraceParent,
    product::{ProductCreated, ProductUpdated},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use sqlx::{PgPool, types::Json};

use super::{
    Category, Description, ImageUrl, Name, Price, Product, Translations, product_row::ProductRow,
    store::product_event,
};

/// A product in a catalog file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedProduct {
    id: ProductId,
    name: Name,
    description: Description,
    translations: Translations,
    price: Price,
    currency: Currency,
    tax_rate: TaxRate,
    category: Category,
    image_url: Option<ImageUrl>,
    /// The opening stock, which stock-service seeds.
    #[serde(rename = "quantity", skip_serializing)]
    _quantity: IgnoredAny,
}

/// The result of seeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedSummary {
    /// The number of products in the file.
    pub products: usize,
    /// The number of inserted products.
    pub created: usize,
    /// The number of updated products.
    pub updated: usize,
}

impl fmt::Display for SeedSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            products,
            created,
            updated,
        } = self;
        write!(
            f,
            "{products} products: {created} created, {updated} updated, {} unchanged",
            products - created - updated
        )
    }
}

/// Inserts or updates the products and enqueues their events in one transaction. Deleted products stay
/// deleted, and products that are not in the file stay as they are.
pub async fn seed(
    pool: &PgPool,
    clock: &Clock,
    products: &[SeedProduct],
) -> Result<SeedSummary, DatabaseError> {
    let now = truncate_to_micros(clock.now());
    let mut transaction = pool.begin().await?;
    let changed = sqlx::query_as!(
        ProductRow,
        r#"INSERT INTO catalog.products AS old (id, name, description, translations, price, currency, tax_rate,
                                                category, image_url, created_at, updated_at)
           SELECT id, name, description, translations, price, currency, tax_rate, category, image_url, $2, $2
           FROM jsonb_to_recordset($1) AS new (id uuid, name text, description text, translations jsonb,
                                               price bigint, currency text, tax_rate text, category text,
                                               image_url text)
           ON CONFLICT (id) DO UPDATE
           SET name = excluded.name, description = excluded.description,
               translations = excluded.translations, price = excluded.price, currency = excluded.currency,
               tax_rate = excluded.tax_rate, category = excluded.category,
               image_url = excluded.image_url, updated_at = excluded.updated_at,
               version = old.version + 1
           WHERE old.deleted_at IS NULL
             AND (old.name, old.description, old.translations, old.price, old.currency, old.tax_rate,
                  old.category, old.image_url)
                 IS DISTINCT FROM (excluded.name, excluded.description, excluded.translations,
                                   excluded.price, excluded.currency, excluded.tax_rate, excluded.category,
                                   excluded.image_url)
           RETURNING id, name AS "name: Name", description AS "description: Description",
                     translations AS "translations: Json<Translations>", price, currency, tax_rate,
                     category AS "category: Category", image_url AS "image_url: ImageUrl",
                     version, created_at, updated_at"#,
        Json(products) as _,
        now,
    )
    .fetch_all(&mut *transaction)
    .await?
    .into_iter()
    .map(Product::try_from)
    .collect::<Result<Vec<_>, _>>()?;

    let trace = TraceParent::root(now);
    let events: Vec<OutboxEvent> = changed
        .iter()
        .map(|product| match product.version {
            1 => product_event(ProductCreated(product.snapshot()), product.id, now, trace),
            _ => product_event(ProductUpdated(product.snapshot()), product.id, now, trace),
        })
        .collect();
    CatalogOutbox::enqueue(&mut transaction, &events, now).await?;
    transaction.commit().await?;
    // The version of an inserted product is 1, and that of an updated product is higher.
    let created = changed.iter().filter(|product| product.version == 1).count();
    Ok(SeedSummary {
        products: products.len(),
        created,
        updated: changed.len() - created,
    })
}
