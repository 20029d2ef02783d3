//! The outboxes and the relay, against a real PostgreSQL, DynamoDB API and event bus. `cargo xtask test`
//! says where they are (`DATABASE_URL`, `AWS_ENDPOINT_URL`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod eventbridge_stub;
mod outbox_contract;
mod publish_faults;
mod relay;
mod support;
