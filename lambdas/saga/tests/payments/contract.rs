//! The contract of the payment provider port. Each test case uses its own order.

use domain::{Clock, Currency, Money, OrderId, PaymentId, UserId};
use saga::payments::{PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe};
use uuid::Uuid;

/// The shop's page to which the provider sends the customer.
pub const RETURN_URL: &str = "https://matsuri.example/payment";

/// Defines one test per contract case. `$start` is a future of a server with a field `stripe`.
macro_rules! contract_tests {
    ($start:expr) => {
        $crate::contract::contract_tests! { $start =>
            payment_is_charged_only_when_confirmed
            confirmation_is_idempotent
            decline_is_distinguished_from_a_failure
            cancelled_payment_cannot_be_charged
            late_cancellation_returns_charged
            refund_is_idempotent
            uncharged_payment_cannot_be_refunded
            unknown_payment_is_not_found
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
pub(crate) use contract_tests;

/// The id of a new order.
pub fn new_order() -> OrderId {
    OrderId::new(Clock::system().now())
}

pub fn any_user() -> UserId {
    UserId(Uuid::nil())
}

pub fn yen(amount: i64) -> Money {
    Money::new(amount, Currency::JPY).unwrap()
}

/// Creates an order and its payment, which is not confirmed.
pub async fn create_payment(stripe: &Stripe, method: &str) -> (OrderId, PaymentId) {
    let order = new_order();
    let payment = stripe
        .create_intent(any_user(), order, yen(1500), method)
        .await
        .unwrap();
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Open);
    (order, payment)
}

pub async fn payment_is_charged_only_when_confirmed(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Charged);
}

pub async fn confirmation_is_idempotent(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    for _ in 0..3 {
        stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
    }
    // With another idempotency key, as if the provider had forgotten the first one.
    stripe.confirm(new_order(), &payment, RETURN_URL).await.unwrap();
}

pub async fn decline_is_distinguished_from_a_failure(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_chargeCustomerFail").await;
    let declined = stripe.confirm(order, &payment, RETURN_URL).await;
    let Err(PaymentError::Declined { code }) = declined else {
        panic!("{declined:?}")
    };
    // localstripe returns no decline code, only the error code.
    assert!(
        ["generic_decline", "card_declined"].contains(&code.as_str()),
        "{code}"
    );
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Open);
    assert_eq!(stripe.cancel(&payment).await.unwrap(), PaymentStatus::Cancelled);
}

pub async fn cancelled_payment_cannot_be_charged(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    for _ in 0..2 {
        assert_eq!(stripe.cancel(&payment).await.unwrap(), PaymentStatus::Cancelled);
    }
    assert_eq!(stripe.cancel(&payment).await.unwrap(), PaymentStatus::Cancelled);
    let late = stripe.confirm(order, &payment, RETURN_URL).await;
    assert!(
        matches!(late, Err(PaymentError::Rejected { status: 400, .. })),
        "{late:?}"
    );
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Cancelled);
}

pub async fn late_cancellation_returns_charged(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
    assert_eq!(stripe.cancel(&payment).await.unwrap(), PaymentStatus::Charged);
}

pub async fn refund_is_idempotent(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_visa").await;
    stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
    for _ in 0..3 {
        stripe.refund(order, &payment, yen(1500)).await.unwrap();
    }
    assert_eq!(stripe.find(&payment).await.unwrap(), PaymentStatus::Charged);
}

pub async fn uncharged_payment_cannot_be_refunded(stripe: &Stripe) {
    let (order, payment) = create_payment(stripe, "pm_card_chargeCustomerFail").await;
    stripe.confirm(order, &payment, RETURN_URL).await.unwrap_err();
    let refund = stripe.refund(order, &payment, yen(1500)).await;
    assert!(
        matches!(refund, Err(PaymentError::Rejected { status: 400, .. })),
        "{refund:?}"
    );
}

pub async fn unknown_payment_is_not_found(stripe: &Stripe) {
    let (order, unknown) = (new_order(), PaymentId("pi_none".into()));
    let errors = [
        stripe.find(&unknown).await.unwrap_err(),
        stripe.confirm(order, &unknown, RETURN_URL).await.unwrap_err(),
        stripe.cancel(&unknown).await.unwrap_err(),
        stripe.refund(order, &unknown, yen(1500)).await.unwrap_err(),
    ];
    assert!(
        errors.iter().all(|error| matches!(error, PaymentError::NotFound)),
        "{errors:?}"
    );
}
