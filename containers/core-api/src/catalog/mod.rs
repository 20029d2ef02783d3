//! The catalog: products, their validation and their store.
//!
//! core-api is the only writer of products. stock-service owns the stock; the catalog only reads the
//! available stock for display.

mod pagination;
mod product;
mod product_row;
mod seed;
mod store;
mod validation;

pub use pagination::{Page, Position, ProductFilter, ProductQuery, Sort};
pub use product::{Product, ProductDetails, TaxRateSchema};
pub use seed::{SeedProduct, SeedSummary, seed};
pub use store::{Catalog, ProductPrice, ProductUpdateError};
pub(crate) use validation::validated_string;
pub use validation::{
    Category, Description, ImageUrl, InvalidText, Language, Name, Price, Translation, Translations,
};
