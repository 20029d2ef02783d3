//! The functions as they are deployed, and what they keep, against the PostgreSQL of `DATABASE_URL` and the local
//! AWS of `AWS_ENDPOINT_URL`. `cargo xtask test` says where they are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod flows;
mod guard;
mod hands;
mod oauth;
mod sessions;
mod world;
