//! Accounts in a real PostgreSQL, a database for each test. `cargo xtask test` says where it is (`DATABASE_URL`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod accounts;
mod identities;
mod support;
