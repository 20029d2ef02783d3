//! The steps against a real DynamoDB API and bus (those that `AWS_ENDPOINT_URL` names) and the payment
//! simulator; stock-service takes part in the end-to-end tests.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod completion_steps;
mod deployed_functions;
mod payment_steps;
mod stock_steps;
mod support;
