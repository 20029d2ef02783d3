//! Integration tests of the order store against a real DynamoDB API, with separate tables per test.
//! `cargo xtask test` sets its URL (`AWS_ENDPOINT_URL`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod erasure;
mod idempotency;
mod open_orders;
mod payment_actions;
mod payment_issues;
mod races;
mod state_machine_props;
mod support;
