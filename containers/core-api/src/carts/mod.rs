//! Carts: what somebody means to buy, before it is an order.
//!
//! A cart is one item of the table of sessions, and every change of it is conditional on the version that the change
//! was decided on. Prices are not in it: they are the catalogue's of the moment that it is looked at.

mod cart;
mod checkout;
mod store;
mod token;

pub use cart::{Cart, CartFull, CartLine, CheckoutClaim, MAX_LINES};
pub use checkout::CheckoutError;
pub use store::{CartError, Carts};
pub use token::{CartId, CartToken, InvalidCartToken};
