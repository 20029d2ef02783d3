//! Integration tests of stock-service: decisions, HTTP API and queue consumer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod contention;
mod crash_recovery;
mod database_outage;
mod decision_props;
mod jwks_file;
mod live_stock;
mod model_conformance;
mod queue_consumer;
mod reference_model;
mod responses;
mod support;
mod validation;
