//! The provider from outside: everything goes over HTTP, as its clients do it.
#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod durability;
mod failure_modes;
mod idempotency;
mod input_validation;
mod pagination;
mod payments;
mod support;
