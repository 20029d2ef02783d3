//! The catalogue: products, the rules for what may stand in one, and their store.
//!
//! core-api is the only writer of products. Stock is stock-service's: all that is asked of it here is how much can be
//! bought, to show it.

mod pagination;
mod product;
mod product_row;
mod seed;
mod store;
mod validation;

pub use pagination::{Page, Position, ProductFilter, ProductQuery, Sort};
pub use product::{Product, ProductDetails};
pub use seed::{SeedProduct, SeedSummary, seed};
pub use store::{Catalog, ProductPrice, ProductUpdateError};
pub(crate) use validation::validated_string;
pub use validation::{
    Category, Description, ImageUrl, InvalidText, Language, Name, Price, Translation, Translations,
};
