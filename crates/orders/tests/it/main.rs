//! Orders against a real DynamoDB API, with tables of each test's own. `cargo xtask test` says where it is
//! (`AWS_ENDPOINT_URL`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod erasure;
mod idempotency;
mod open_orders;
mod races;
mod state_machine_props;
mod support;
