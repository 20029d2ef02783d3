//! End-to-end tests that need the running system for themselves: they disable or kill a part of it, use the
//! whole machine, or judge the state of all stores. They run one after another.
//!
//! All other end-to-end tests are in `tests/it`, where they run concurrently.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod await_quiescence;
mod cancellation;
mod contention;
mod crash_recovery;
mod database_password;
mod duplicate_delivery;
mod failure_report;
mod fault_cases;
mod idempotency;
mod key_rotation;
mod many_connections;
mod receipts;
mod redrive;
mod replay;
mod response_times;
