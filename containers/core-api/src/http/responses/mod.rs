//! The JSON bodies of responses.

pub mod account;
pub mod cart;
pub mod order;
pub mod product;
pub mod receipt;
