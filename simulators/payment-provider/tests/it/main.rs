//! Tests of the payment provider over HTTP, as its clients use it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authentication;
mod durability;
mod events;
mod failure_modes;
mod idempotency;
mod input_validation;
mod pagination;
mod payments;
mod support;
