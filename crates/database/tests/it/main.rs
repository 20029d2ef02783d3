//! Integration tests of errors, roles and encryption, against the PostgreSQL that `cargo xtask test` starts
//! (`DATABASE_URL`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod errors;
mod roles;
mod tls;
