//! What every provider does, whoever it is. Each case takes a provider and an order of its own.

use domain::{Clock, Currency, Money, OrderId, PaymentId};
use saga::payments::{PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe};

/// A test of every case against a server; `$start` is a future of something with a `stripe`.
macro_rules! test_against {
    ($start:expr) => {
        $crate::contract::test_against! { $start =>
            a_payment_moves_no_money_until_it_is_confirmed
            a_confirmation_may_be_repeated
            a_decline_is_told_from_a_failure
            a_cancelled_payment_is_never_charged
            a_cancellation_that_comes_too_late_says_so
            a_refund_may_be_repeated
            what_was_not_taken_is_not_given_back
            an_unknown_payment_is_not_found
        }
    };
    ($start:expr => $($case:ident)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                let server = $start.await;
                $crate::contract::$case(&server.stripe).await;
            }
        )+
    };
}
pub(crate) use test_against;

/// An order that nobody else has.
pub fn new_order() -> OrderId {
    OrderId::new(Clock::system().now())
}

/// So many yen.
pub fn yen(amount: i64) -> Money {
    Money::new(amount, Currency::JPY).unwrap()
}

/// An order and its payment, not confirmed.
pub async fn create_payment(stripe: &Stripe, method: &str) -> (OrderId, PaymentId) {
    let order = new_order();
    let payment = stripe.create_intent(order, yen(1500), method).await.unwrap();
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Open);
    (order, payment)
}

pub async fn a_payment_moves_no_money_until_it_is_confirmed(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    stripe.confirm(order, &payment).await.unwrap();
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Charged);
}

pub async fn a_confirmation_may_be_repeated(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    for _ in 0..3 {
        stripe.confirm(order, &payment).await.unwrap();
    }
    // Under another key, as if the provider had forgotten the first in the meantime.
    stripe.confirm(new_order(), &payment).await.unwrap();
}

pub async fn a_decline_is_told_from_a_failure(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_chargeCustomerFail").await;
    let declined = stripe.confirm(order, &payment).await;
    let Err(PaymentError::Declined { code }) = declined else {
        panic!("{declined:?}")
    };
    // localstripe gives no decline code; the error code stands in for it.
    assert!(
        ["generic_decline", "card_declined"].contains(&code.as_str()),
        "{code}"
    );
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Open);
    assert_eq!(stripe.cancel(&payment).await.unwrap(), PaymentStatus::Cancelled);
}

pub async fn a_cancelled_payment_is_never_charged(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    for _ in 0..2 {
        assert_eq!(stripe.cancel(&payment).await.unwrap(), PaymentStatus::Cancelled);
    }
    assert_eq!(stripe.cancel(&payment).await.unwrap(), PaymentStatus::Cancelled);
    let late = stripe.confirm(order, &payment).await;
    assert!(
        matches!(late, Err(PaymentError::Rejected { status: 400, .. })),
        "{late:?}"
    );
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Cancelled);
}

pub async fn a_cancellation_that_comes_too_late_says_so(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    stripe.confirm(order, &payment).await.unwrap();
    assert_eq!(stripe.cancel(&payment).await.unwrap(), PaymentStatus::Charged);
}

pub async fn a_refund_may_be_repeated(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    stripe.confirm(order, &payment).await.unwrap();
    for _ in 0..3 {
        // localstripe gives the money back three times here: it has no keys and does not look whether a
        // charge was refunded. That it is given back once is a test of the simulator's alone.
        stripe.refund(order, &payment).await.unwrap();
    }
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Charged);
}

pub async fn what_was_not_taken_is_not_given_back(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_chargeCustomerFail").await;
    stripe.confirm(order, &payment).await.unwrap_err();
    let refund = stripe.refund(order, &payment).await;
    assert!(
        matches!(refund, Err(PaymentError::Rejected { status: 400, .. })),
        "{refund:?}"
    );
}

pub async fn an_unknown_payment_is_not_found(stripe: &Stripe) {
    let (order, nothing) = (new_order(), PaymentId("pi_none".into()));
    let errors = [
        stripe.find(&nothing).await.unwrap_err(),
        stripe.confirm(order, &nothing).await.unwrap_err(),
        stripe.cancel(&nothing).await.unwrap_err(),
        stripe.refund(order, &nothing).await.unwrap_err(),
    ];
    assert!(
        errors.iter().all(|error| matches!(error, PaymentError::NotFound)),
        "{errors:?}"
    );
}
