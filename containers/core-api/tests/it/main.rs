//! core-api through its public door: a real router on a port, a database and tables of each test's own.
//! `cargo xtask test` says where PostgreSQL (`DATABASE_URL`) and DynamoDB (`AWS_ENDPOINT_URL`) are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod account_status;
mod accounts;
mod addresses;
mod admin;
mod authentication;
mod authorization;
mod carts;
mod checkout;
mod circuit_breaker;
mod idempotency;
mod input_validation;
mod jwks_refresh;
mod openapi;
mod optimistic_concurrency;
mod order_mail_preferences;
mod orders;
mod process;
mod product_listing;
mod products;
mod rate_limit;
mod redis_server;
mod response_cache;
mod seed;
mod support;
