//! stock-service from outside: its decisions, its HTTP API and its queue.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod contention;
mod crash_recovery;
mod database_outage;
mod decision_props;
mod model_conformance;
mod queue_consumer;
mod reference_model;
mod responses;
mod support;
mod validation;
