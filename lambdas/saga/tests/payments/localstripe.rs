//! Contract tests against localstripe (PyPI), an independent implementation of Stripe's documentation.
//!
//! localstripe differs from Stripe in these points:
//!
//! - It ignores idempotency keys: a repetition is a new request.
//! - It does not accept a payment method in a confirmation (500).
//! - It supports only the test methods `pm_card_visa`, `pm_card_visa_chargeDeclined` (which it charges) and
//!   `pm_card_chargeCustomerFail`, and returns 404 for others.
//! - Its errors have no `decline_code`, a `code` only for declines, and always the type
//!   `invalid_request_error`.
//! - It refunds a charge repeatedly.
//! - A refund of a payment that was never confirmed returns a 500, and so does the list of its refunds.

use saga::payments::stripe::Stripe;

/// A client for the running localstripe server. Tests can share the server: each creates its own payments.
struct LocalstripeServer {
    stripe: Stripe,
}

async fn connect() -> LocalstripeServer {
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment variable configures the test"
    )]
    let Ok(url) = std::env::var("LOCALSTRIPE_URL") else {
        panic!("LOCALSTRIPE_URL is not set: run the tests with `cargo xtask test`, which starts localstripe");
    };
    LocalstripeServer {
        stripe: Stripe::new(&url, &"sk_test_12345".into()).unwrap(),
    }
}

crate::contract::contract_tests!(connect());
