//! Carts.
//!
//! A cart is one item of the sessions table in DynamoDB. Every write is conditional on the version that was
//! read (optimistic concurrency). A cart stores no prices: each response uses the catalog's current prices.

mod cart;
mod checkout;
mod priced_cart;
mod store;
mod token;

pub use cart::{Cart, CartFull, CartLine, MAX_LINES};
pub use checkout::{CheckoutError, CheckoutRequest};
pub use priced_cart::{PricedCart, PricedLine};
pub use store::{CartError, Carts};
pub use token::{CartId, CartToken, InvalidCartToken};
