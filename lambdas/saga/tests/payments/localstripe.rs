//! Against localstripe (PyPI), which somebody else wrote from Stripe's documentation.
//!
//! Where it is not like Stripe, as far as it shows here: it has no idempotency keys at all, so a repetition
//! is a new request; it cannot take a payment method with a confirmation (500); it knows of the test methods
//! `pm_card_visa`, `pm_card_visa_chargeDeclined` (which it lets pay) and `pm_card_chargeCustomerFail` alone,
//! and answers 404 for others; its errors have neither `decline_code` nor, but for declines, a `code`, and
//! are all `invalid_request_error`; it refunds a charge as often as it is asked; and a refund of a payment
//! that was never attempted is a 500.

use saga::payments::stripe::Stripe;

/// The running localstripe; it has no state that tests could take from each other.
struct LocalstripeServer {
    stripe: Stripe,
}

async fn running() -> LocalstripeServer {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is how the test's server is named to it"
    )]
    let Ok(url) = std::env::var("LOCALSTRIPE_URL") else {
        panic!("LOCALSTRIPE_URL is not set: run the tests by `cargo xtask test`, which starts localstripe");
    };
    LocalstripeServer {
        stripe: Stripe::new(&url, &"sk_test_12345".into()).unwrap(),
    }
}

crate::contract::test_against!(running());
