//! stock-service: the only writer of stock.
//!
//! It sets stock aside, sells it, takes it back and adjusts it, for our own programs over HTTP and for the
//! rest of the world through `stock-update-queue`. [`engine`] decides and writes; the other rooms ask it.

pub mod config;
pub mod consumer;
pub mod engine;
pub mod expiry;
pub mod http;
pub mod model;
