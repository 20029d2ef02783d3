//! stock-service from outside: its decisions, its HTTP API and its queue.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod bad_input;
mod decisions;
mod killed;
mod model;
mod outage;
mod queue;
mod sale;
mod shop;
mod world;
