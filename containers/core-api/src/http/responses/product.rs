//! Products and categories as JSON.

use domain::{Currency, ProductId, TaxRate, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::{
    Category, Description, ImageUrl, Name, Price, Product, ProductDetails, TaxRateSchema, Translations,
};

/// A page of products.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductPage {
    pub items: Vec<ProductResponse>,
    /// The cursor of the next page; null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub struct ProductResponse {
    #[schema(value_type = uuid::Uuid)]
    id: ProductId,
    /// The English name.
    name: Name,
    /// The English description.
    description: Description,
    /// The texts in other languages, keyed by BCP 47 tag.
    translations: Translations,
    /// The unit price in minor units, tax included.
    price: Price,
    /// The currency of the price (ISO 4217).
    #[schema(value_type = String, example = "JPY")]
    currency: Currency,
    /// The rate of the consumption tax that the price includes.
    #[schema(value_type = TaxRateSchema)]
    tax_rate: TaxRate,
    /// The slug of the category.
    category: Category,
    /// The URL of the product image.
    #[schema(required)]
    image_url: Option<ImageUrl>,
    /// The time at which the product was added to the catalog.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The time of the last change.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Product> for ProductResponse {
    fn from(product: Product) -> Self {
        let currency = product.currency();
        let ProductDetails {
            name,
            description,
            translations,
            price,
            tax_rate,
            category,
            image_url,
        } = product.details;
        Self {
            id: product.id,
            name,
            description,
            translations,
            price,
            currency,
            tax_rate,
            category,
            image_url,
            created_at: product.created_at,
            updated_at: product.updated_at,
        }
    }
}

/// A category that has products.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Category)]
pub struct CategoryResponse {
    /// The identifier of the category.
    pub slug: Category,
    /// The number of products in the category.
    #[schema(minimum = 1)]
    pub count: i64,
}

/// All categories that have products.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Categories)]
pub struct CategoriesResponse {
    /// The categories, ordered by slug.
    pub items: Vec<CategoryResponse>,
}
