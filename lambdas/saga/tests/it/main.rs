//! Integration tests of the steps against the DynamoDB and EventBridge at `AWS_ENDPOINT_URL` and the payment
//! simulator. The end-to-end tests cover the steps with stock-service.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod completion_steps;
mod create_payment;
mod deployed_functions;
mod payment_actions;
mod payment_steps;
mod payment_webhook;
mod secret_rotation;
mod stock_steps;
mod support;
