//! stock-service: the only writer of stock.
//!
//! It reserves, commits, releases and adjusts stock, for our own services over HTTP and for other systems
//! through `stock-update-queue`. The module [`engine`] makes all decisions and writes; the other modules
//! submit commands to it.

pub mod config;
pub mod consumer;
pub mod engine;
pub mod expiry;
pub mod http;
pub mod jwks_file;
pub mod live_stock;
pub mod model;
