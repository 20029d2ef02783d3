//! Against our own payment provider, which has Stripe's idempotency keys and makes every trouble there is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use domain::{Clock, PaymentId};
use payment_provider::{
    Config, Provider,
    resources::{PaymentIntent, Refund},
    router,
};
use saga::payments::{PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::contract::{create_payment, new_order, test_against, yen};

/// A provider in this process, with a clock that the test turns.
struct Simulator {
    stripe: Stripe,
    url: String,
    provider: Provider,
    elapsed_seconds: Arc<AtomicI64>,
    _data_dir: TempDir,
}

async fn start_simulator() -> Simulator {
    let data_dir = tempfile::tempdir().unwrap();
    let config = Config {
        address: ([127, 0, 0, 1], 0).into(),
        data_dir: data_dir.path().into(),
        unavailable_duration: Duration::from_secs(3),
        slow_duration: Duration::from_millis(300),
        log_level: "off".into(),
    };
    let started = Clock::system().now();
    let seconds = Arc::new(AtomicI64::new(0));
    let clock = {
        let seconds = seconds.clone();
        Clock::from_fn(move || started + Duration::from_secs(seconds.load(Ordering::Relaxed).unsigned_abs()))
    };
    let listener = TcpListener::bind(config.address).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let provider = Provider::open(config, clock).unwrap();
    let app = router(provider.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let stripe = Stripe::new(&url, &"sk_test_key".into()).unwrap();
    Simulator {
        stripe,
        url,
        provider,
        elapsed_seconds: seconds,
        _data_dir: data_dir,
    }
}

impl Simulator {
    /// The payment as the provider has it in its books.
    fn intent(&self, payment: &PaymentId) -> PaymentIntent {
        self.provider
            .with_state(|books| books.find_intent(&payment.0).cloned())
            .unwrap()
    }

    fn intents(&self) -> Vec<PaymentIntent> {
        self.provider
            .with_state(|books| books.intents().cloned().collect())
    }

    fn refunds(&self) -> Vec<Refund> {
        self.provider
            .with_state(|books| books.refunds().cloned().collect())
    }
}

test_against!(start_simulator());

#[tokio::test]
async fn an_order_has_one_payment_of_its_amount() {
    let server = start_simulator().await;
    let order = new_order();
    let first = server
        .stripe
        .create_intent(order, yen(98_765), "pm_card_jcb")
        .await
        .unwrap();
    let again = server
        .stripe
        .create_intent(order, yen(98_765), "pm_card_jcb")
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(server.intents().len(), 1);

    let intent = server.intent(&first);
    assert_eq!((intent.amount, intent.currency.as_str()), (98_765, "jpy"));
    assert_eq!(intent.metadata["order_id"], order.to_string());

    let other_amount = server
        .stripe
        .create_intent(order, yen(98_766), "pm_card_jcb")
        .await;
    assert!(
        matches!(other_amount, Err(PaymentError::Rejected { status: 400, .. })),
        "{other_amount:?}"
    );
}

#[tokio::test]
async fn money_is_given_back_once() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_card_visa").await;
    server.stripe.confirm(order, &payment).await.unwrap();
    server.stripe.refund(order, &payment).await.unwrap();
    server.stripe.refund(order, &payment).await.unwrap();
    // Under another key, as if the provider had forgotten the first in the meantime.
    server.stripe.refund(new_order(), &payment).await.unwrap();
    let refunds = server.refunds();
    assert_eq!(refunds.len(), 1);
    assert_eq!(
        (refunds[0].amount, &refunds[0].payment_intent),
        (1500, &payment.0)
    );
}

#[tokio::test]
async fn declines_say_why() {
    let server = start_simulator().await;
    let declines = [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error"),
    ];
    for (method, reason) in declines {
        let (order, payment) = create_payment(&server.stripe, method).await;
        for _ in 0..2 {
            let declined = server.stripe.confirm(order, &payment).await;
            assert!(
                matches!(&declined, Err(PaymentError::Declined { code }) if code == reason),
                "{declined:?}"
            );
        }
        assert_eq!(
            server.stripe.cancel(&payment).await.unwrap(),
            PaymentStatus::Cancelled
        );
    }
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_declined_and_a_sum_that_cannot_be_charged_is_rejected() {
    let server = start_simulator().await;
    for method in ["pm_card_nobody", "pm_card_visa&amount=50", "決済"] {
        let refused = server.stripe.create_intent(new_order(), yen(1500), method).await;
        assert!(
            matches!(&refused, Err(PaymentError::Declined { code }) if code == "resource_missing"),
            "{refused:?}"
        );
    }
    for (amount, reason) in [(49, "amount_too_small"), (100_000_000, "amount_too_large")] {
        let refused = server
            .stripe
            .create_intent(new_order(), yen(amount), "pm_card_visa")
            .await;
        assert!(
            matches!(&refused, Err(PaymentError::Rejected { status: 400, code }) if code == reason),
            "{refused:?}"
        );
    }
    assert!(server.intents().is_empty());
}

#[tokio::test]
async fn an_error_before_the_effect_is_worth_a_retry() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_error_before_effect").await;
    let first = server.stripe.confirm(order, &payment).await;
    assert!(matches!(first, Err(PaymentError::Unavailable(_))), "{first:?}");
    assert_eq!(server.stripe.find(&payment).await.unwrap(), PaymentStatus::Open);
    server.stripe.confirm(order, &payment).await.unwrap();
}

#[tokio::test]
async fn after_a_lost_answer_the_retry_finds_the_charge_made() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_error_after_effect").await;
    let first = server.stripe.confirm(order, &payment).await;
    assert!(matches!(first, Err(PaymentError::Unavailable(_))), "{first:?}");
    let charged = server.intent(&payment);
    assert_eq!(
        server.stripe.find(&payment).await.unwrap(),
        PaymentStatus::Charged
    );

    server.stripe.confirm(order, &payment).await.unwrap();
    assert_eq!(server.intent(&payment), charged, "there is one charge");
}

#[tokio::test]
async fn unavailability_passes() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_unavailable").await;
    for _ in 0..3 {
        let refused = server.stripe.confirm(order, &payment).await;
        assert!(
            matches!(refused, Err(PaymentError::Unavailable(_))),
            "{refused:?}"
        );
        server.elapsed_seconds.fetch_add(1, Ordering::Relaxed);
    }
    server.stripe.confirm(order, &payment).await.unwrap();
}

#[tokio::test]
async fn a_lasting_failure_can_still_be_undone() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_broken").await;
    for _ in 0..3 {
        let failed = server.stripe.confirm(order, &payment).await;
        assert!(matches!(failed, Err(PaymentError::Unavailable(_))), "{failed:?}");
    }
    assert_eq!(
        server.stripe.cancel(&payment).await.unwrap(),
        PaymentStatus::Cancelled
    );
}

#[tokio::test]
async fn two_attempts_at_once_are_one_charge() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_slow").await;
    let (one, other) = tokio::join!(
        server.stripe.confirm(order, &payment),
        server.stripe.confirm(order, &payment)
    );
    let (charged, in_flight) = if one.is_ok() { (one, other) } else { (other, one) };
    charged.unwrap();
    assert!(
        matches!(in_flight, Err(PaymentError::Unavailable(_))),
        "{in_flight:?}"
    );
    server.stripe.confirm(order, &payment).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_refused_is_no_reason_to_retry_and_is_not_shown() {
    let server = start_simulator().await;
    let stripe = Stripe::new(&server.url, &"sk_live_very_secret".into()).unwrap();
    let refused = stripe.find(&PaymentId("pi_none".into())).await.unwrap_err();
    assert!(
        matches!(refused, PaymentError::Rejected { status: 401, .. }),
        "{refused:?}"
    );
    assert!(!format!("{refused:?} {refused}").contains("secret"));
}
