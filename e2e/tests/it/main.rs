//! End-to-end tests: they call the public APIs of the running system, and then check the stores, the queues,
//! the payment provider and the sent mails.
//!
//! `cargo xtask test` starts a separate system for them and passes its addresses in environment variables.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod authentication;
mod await_quiescence;
mod aws_cli;
mod cancellation;
mod carts;
mod contention;
mod crash_recovery;
mod dead_letters;
mod duplicate_delivery;
mod failure_report;
mod idempotency;
mod input_validation;
mod key_rotation;
mod oauth_sign_in;
mod order_lifecycle;
mod payments;
mod redrive;
mod replay;
mod saga_matrix;
mod security;
mod stock;
mod token_forgery;
