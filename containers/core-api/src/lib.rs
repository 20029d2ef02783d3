//! core-api: the catalog, accounts, carts and orders over HTTP. It is the only writer of products and carts,
//! and it accepts orders, which the order saga then processes. The service is a library so that tests can
//! start it; `main.rs` wires it.

pub mod accounts;
pub mod carts;
pub mod catalog;
pub mod config;
pub mod cursor;
pub mod dynamodb;
pub mod http;
pub mod jwks_refresh;
pub mod order_limits;
pub mod order_service;
pub mod origin_secrets;
pub mod phone_codes;
pub mod rate_limit;
pub mod receipts;
pub mod unsubscribe_links;
