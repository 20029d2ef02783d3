//! Integration tests of the outboxes and the relay, against real PostgreSQL, DynamoDB and EventBridge APIs.
//! `cargo xtask test` sets their URLs (`DATABASE_URL`, `AWS_ENDPOINT_URL`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod eventbridge_stub;
mod outbox_contract;
mod publish_faults;
mod relay;
mod support;
