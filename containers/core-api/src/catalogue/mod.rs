//! The catalogue: products, the rules for what may stand in one, and their store.
//!
//! core-api is the only writer of products. Stock is stock-service's: all that is asked of it here is how much can be
//! bought, to show it.

mod listing;
mod product;
mod row;
mod seed;
mod store;
mod values;

pub use listing::{Filter, Listing, Page, Position, Sort};
pub use product::{Details, Product};
pub use seed::{SeedSummary, Seedling, seed};
pub use store::{Catalogue, ChangeError, Offer};
pub(crate) use values::text;
pub use values::{Category, Description, ImageUrl, Language, Name, Price, Translation, Translations, Unfit};
