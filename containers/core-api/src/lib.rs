//! core-api: the catalogue, accounts, carts and orders over HTTP. It is the only writer of products and of carts, and
//! what takes orders in; the saga carries them on. This library is the program without its start, so that tests can start it too.

pub mod accounts;
pub mod carts;
pub mod catalog;
pub mod config;
pub mod cursor;
pub mod dynamodb;
pub mod http;
pub mod jwks_refresh;
pub mod order_service;
pub mod rate_limit;
