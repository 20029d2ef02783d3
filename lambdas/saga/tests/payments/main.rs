//! The payment port's contract, held against every server that speaks Stripe's wire protocol, and what each
//! of them alone can show.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod contract;
mod localstripe;
mod simulator;
mod wire;
