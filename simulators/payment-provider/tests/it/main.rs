//! The provider from outside: everything goes over HTTP, as its clients do it.
#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod bad_input;
mod durability;
mod idempotency;
mod lists;
mod payments;
mod support;
mod troubles;
