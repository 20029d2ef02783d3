//! Integration tests against the DynamoDB API at `AWS_ENDPOINT_URL`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod idempotency;
mod sqs_batch;
mod support;
