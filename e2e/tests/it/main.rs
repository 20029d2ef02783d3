//! The platform as its users meet it: every test comes in by the public door of the system that runs, and
//! looks at what is left in the stores, the queues, the provider's books and the mail.
//!
//! `cargo xtask test` starts a system of its own for them and says in the environment where it is.

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
