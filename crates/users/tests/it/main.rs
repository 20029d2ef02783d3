//! Integration tests against a real PostgreSQL; every test gets its own database. `cargo xtask test` starts
//! PostgreSQL and sets `DATABASE_URL`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod accounts;
mod identities;
mod support;
