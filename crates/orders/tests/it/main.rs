//! Orders against a real DynamoDB API, with tables of each test's own. `cargo xtask test` says where it is
//! (`AWS_ENDPOINT_URL`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod anonymise;
mod idempotency;
mod open;
mod races;
mod sequences;
mod store;
