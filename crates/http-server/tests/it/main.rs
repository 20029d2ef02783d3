//! The shared HTTP server as a client sees it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod graceful_shutdown;
mod health;
mod load_shedding;
mod metrics;
mod problem_documents;
mod request_limits;
mod security_headers;
mod support;
mod trace_context;
