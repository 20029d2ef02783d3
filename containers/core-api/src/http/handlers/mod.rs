//! The handlers, one module per resource.

pub mod account;
pub mod addresses;
pub mod admin;
pub mod carts;
pub mod mail_suppression;
pub mod orders;
pub mod phone;
pub mod products;
pub mod realtime;
pub mod unsubscribe;
