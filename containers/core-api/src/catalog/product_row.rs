//! The database row of a product.

use database::DatabaseError;
use domain::{Currency, ProductId, TaxRate, Timestamp, tax::InvalidTaxRate};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Category, Description, ImageUrl, Name, Price, Product, ProductDetails, Translations};

/// A row of the table `products`.
pub(super) struct ProductRow {
    pub(super) id: Uuid,
    pub(super) name: Name,
    pub(super) description: Description,
    pub(super) translations: Json<Translations>,
    pub(super) price: i64,
    pub(super) currency: String,
    pub(super) tax_rate: String,
    pub(super) category: Category,
    pub(super) image_url: Option<ImageUrl>,
    pub(super) version: i64,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// Selects products that are not deleted: `select_products!(["AND …"], arguments)`.
macro_rules! select_products {
    ([$($rest:tt)+] $(, $argument:expr)*) => {
        sqlx::query_as!(
            $crate::catalog::product_row::ProductRow,
            r#"SELECT id, name AS "name: Name", description AS "description: Description",
                      translations AS "translations: Json<Translations>", price, currency, tax_rate,
                      category AS "category: Category", image_url AS "image_url: ImageUrl",
                      version, created_at, updated_at
               FROM catalog.products WHERE deleted_at IS NULL "# + $($rest)+,
            $($argument),*
        )
    };
}
pub(super) use select_products;

impl TryFrom<ProductRow> for Product {
    type Error = DatabaseError;

    fn try_from(row: ProductRow) -> Result<Self, DatabaseError> {
        let ProductRow {
            name,
            description,
            translations: Json(translations),
            category,
            image_url,
            ..
        } = row;
        let price = parse_price(row.price, &row.currency)?;
        let tax_rate = parse_tax_rate(&row.tax_rate)?;
        Ok(Self {
            id: ProductId(row.id),
            details: ProductDetails {
                name,
                description,
                translations,
                price,
                tax_rate,
                category,
                image_url,
            },
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Parses a stored tax rate. The column's check admits no other text.
pub(super) fn parse_tax_rate(name: &str) -> Result<TaxRate, DatabaseError> {
    name.parse()
        .map_err(|error: InvalidTaxRate| DatabaseError::invalid_value("tax_rate", error))
}

/// Parses a stored price. Fails for a price that this service cannot have written.
pub(super) fn parse_price(amount: i64, currency: &str) -> Result<Price, DatabaseError> {
    if currency != Currency::JPY.code() {
        return Err(DatabaseError::invalid_value(
            "currency",
            format!("unsupported currency {currency}"),
        ));
    }
    Price::try_from(amount).map_err(|error| DatabaseError::invalid_value("price", error))
}
