//! core-api through its public door: a real router on a port, a database and tables of each test's own.
//! `cargo xtask test` says where PostgreSQL (`DATABASE_URL`) and DynamoDB (`AWS_ENDPOINT_URL`) are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod accounts;
mod addresses;
mod administration;
mod app;
mod bad_input;
mod breaker;
mod caching;
mod carts;
mod checkout;
mod concurrency;
mod idempotency;
mod issuer;
mod limits;
mod listing;
mod operation;
mod orders;
mod permissions;
mod process;
mod products;
mod redis;
mod seed;
mod standing;
mod tokens;
