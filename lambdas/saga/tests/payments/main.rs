//! The contract tests of the payment provider port, against every server with Stripe's API, and tests of what
//! only one of the servers supports.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod contract;
mod localstripe;
mod simulator;
mod wire;
