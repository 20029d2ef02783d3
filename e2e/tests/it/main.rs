//! The platform as its users meet it: every test comes in by the public door of the system that runs, and
//! looks at what is left in the stores, the queues, the provider's books and the mail.
//!
//! `cargo xtask test` starts a system of its own for them and says in the environment where it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod attacks;
mod bad_input;
mod calls;
mod cancelling;
mod carts;
mod duplicates;
mod idempotency;
mod identity;
mod key_rotation;
mod kills;
mod ordering;
mod payments;
mod poison;
mod providers;
mod quiet;
mod redrive;
mod replay;
mod saga_matrix;
mod sale;
mod stock;
mod tokens;
