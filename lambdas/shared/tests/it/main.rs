//! The library against a real DynamoDB API: the one that `AWS_ENDPOINT_URL` names.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod idempotency;
mod sqs_batch;
mod support;
