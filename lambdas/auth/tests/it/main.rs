//! The functions as they are deployed, and what they keep, against the PostgreSQL of `DATABASE_URL` and the local
//! AWS of `AWS_ENDPOINT_URL`. `cargo xtask test` says where they are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod auth_flows;
mod login_throttle;
mod oauth;
mod sessions;
mod support;
mod test_clock;
