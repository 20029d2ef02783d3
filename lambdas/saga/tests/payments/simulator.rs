//! Contract tests and failure modes against the payment simulator, which implements Stripe's idempotency
//! keys.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use domain::{Clock, PaymentId};
use futures::future::join_all;
use payment_provider::{
    Config, Provider,
    resources::{IntentStatus, PaymentIntent, Refund},
    router,
};
use saga::payments::{PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::contract::{RETURN_URL, any_user, contract_tests, create_payment, new_order, yen};

/// A payment simulator in this process, with a clock that the test advances.
struct Simulator {
    stripe: Stripe,
    url: String,
    provider: Provider,
    elapsed_seconds: Arc<AtomicI64>,
    _data_dir: TempDir,
}

async fn start_simulator() -> Simulator {
    let data_dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}");
    let config = Config {
        address,
        public_url: url.clone(),
        data_dir: data_dir.path().into(),
        unavailable_duration: Duration::from_secs(3),
        slow_duration: Duration::from_millis(300),
        webhook: None,
        log_level: "off".into(),
    };
    let started = Clock::system().now();
    let seconds = Arc::new(AtomicI64::new(0));
    let clock = {
        let seconds = seconds.clone();
        Clock::from_fn(move || started + Duration::from_secs(seconds.load(Ordering::Relaxed).unsigned_abs()))
    };
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
    /// The payment in the provider's state.
    fn intent(&self, payment: &PaymentId) -> PaymentIntent {
        self.provider
            .with_state(|state| state.find_intent(&payment.0).cloned())
            .unwrap()
    }

    fn intents(&self) -> Vec<PaymentIntent> {
        self.provider
            .with_state(|state| state.intents().cloned().collect())
    }

    fn refunds(&self) -> Vec<Refund> {
        self.provider
            .with_state(|state| state.refunds().cloned().collect())
    }
}

contract_tests!(start_simulator());

#[tokio::test]
async fn create_intent_is_idempotent_per_order_and_amount() {
    let server = start_simulator().await;
    let order = new_order();
    let first = server
        .stripe
        .create_intent(any_user(), order, yen(98_765), "pm_card_jcb")
        .await
        .unwrap();
    let again = server
        .stripe
        .create_intent(any_user(), order, yen(98_765), "pm_card_jcb")
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(server.intents().len(), 1);

    let intent = server.intent(&first);
    assert_eq!((intent.amount, intent.currency.as_str()), (98_765, "jpy"));
    assert_eq!(intent.metadata["order_id"], order.to_string());
    let described = server.stripe.describe(&first).await.unwrap();
    assert_eq!(described.order, Some((any_user(), order)));

    let other_amount = server
        .stripe
        .create_intent(any_user(), order, yen(98_766), "pm_card_jcb")
        .await;
    assert!(
        matches!(other_amount, Err(PaymentError::Rejected { status: 400, .. })),
        "{other_amount:?}"
    );
}

#[tokio::test]
async fn payment_is_refunded_once() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_card_visa").await;
    server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
    for order in [order, order, new_order()] {
        server.stripe.refund(order, &payment, yen(1500)).await.unwrap();
    }
    let refunds = server.refunds();
    assert_eq!(refunds.len(), 1);
    assert_eq!(
        (refunds[0].amount, &refunds[0].payment_intent),
        (1500, &payment.0)
    );
}

#[tokio::test]
async fn decline_contains_the_decline_code() {
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
            let declined = server.stripe.confirm(order, &payment, RETURN_URL).await;
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
async fn unknown_method_is_declined_and_amount_out_of_range_is_rejected() {
    let server = start_simulator().await;
    for method in ["pm_card_unknown", "pm_card_visa&amount=50", "決済"] {
        let result = server
            .stripe
            .create_intent(any_user(), new_order(), yen(1500), method)
            .await;
        assert!(
            matches!(&result, Err(PaymentError::Declined { code }) if code == "resource_missing"),
            "{result:?}"
        );
    }
    for (amount, reason) in [(49, "amount_too_small"), (100_000_000, "amount_too_large")] {
        let result = server
            .stripe
            .create_intent(any_user(), new_order(), yen(amount), "pm_card_visa")
            .await;
        assert!(
            matches!(&result, Err(PaymentError::Rejected { status: 400, code }) if code == reason),
            "{result:?}"
        );
    }
    assert!(server.intents().is_empty());
}

/// The simulator repeats its first response, a 500, under the first idempotency key.
#[tokio::test]
async fn stored_error_of_a_confirmation_is_passed() {
    for method in ["pm_error_before_effect", "pm_error_after_confirm"] {
        let server = start_simulator().await;
        let (order, payment) = create_payment(&server.stripe, method).await;
        server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
        let charged = server.intent(&payment);
        assert_eq!(charged.status, IntentStatus::Succeeded, "{method}");
        server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
        assert_eq!(server.intent(&payment), charged, "there must be only one charge");
    }
}

#[tokio::test]
async fn stored_error_of_a_creation_is_passed_and_repetitions_return_the_same_payment() {
    for (method, payment_count) in [("pm_error_before_create", 1), ("pm_error_after_create", 2)] {
        let server = start_simulator().await;
        let (order, payment) = create_payment(&server.stripe, method).await;
        let again = server
            .stripe
            .create_intent(any_user(), order, yen(1500), method)
            .await;
        assert_eq!(again.unwrap(), payment, "{method}");
        assert_eq!(server.intents().len(), payment_count, "{method}");
    }
}

#[tokio::test]
async fn stored_error_of_a_refund_is_passed_and_refunds_once() {
    for method in ["pm_error_before_refund", "pm_error_after_refund"] {
        let server = start_simulator().await;
        let (order, payment) = create_payment(&server.stripe, method).await;
        server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
        for _ in 0..2 {
            server.stripe.refund(order, &payment, yen(1500)).await.unwrap();
        }
        assert_eq!(server.refunds().len(), 1, "{method}");
    }
}

#[tokio::test]
async fn error_of_a_cancellation_is_retryable() {
    for (method, first_status) in [
        ("pm_error_before_cancel", PaymentStatus::Open),
        ("pm_error_after_cancel", PaymentStatus::Cancelled),
    ] {
        let server = start_simulator().await;
        let (_, payment) = create_payment(&server.stripe, method).await;
        assert_eq!(server.stripe.cancel(&payment).await.unwrap(), first_status);
        assert_eq!(
            server.stripe.cancel(&payment).await.unwrap(),
            PaymentStatus::Cancelled,
            "{method}"
        );
    }
}

#[tokio::test]
async fn concurrent_refunds_after_a_stored_error_refund_once() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_error_before_refund").await;
    server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
    let refunds = (0..20).map(|_| server.stripe.refund(order, &payment, yen(1500)));
    for outcome in join_all(refunds).await {
        // The provider returns a conflict while the same request is in progress.
        assert!(
            matches!(outcome, Ok(()) | Err(PaymentError::Unavailable(_))),
            "{outcome:?}"
        );
    }
    server.stripe.refund(order, &payment, yen(1500)).await.unwrap();
    assert_eq!(server.refunds().len(), 1);
}

#[tokio::test]
async fn lost_response_does_not_hide_the_charge() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_error_after_effect").await;
    server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
    let charged = server.intent(&payment);
    assert_eq!(charged.status, IntentStatus::Succeeded);

    server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
    assert_eq!(server.intent(&payment), charged, "there must be only one charge");
}

#[tokio::test]
async fn confirmation_succeeds_after_temporary_unavailability() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_unavailable").await;
    for _ in 0..3 {
        let result = server.stripe.confirm(order, &payment, RETURN_URL).await;
        assert!(matches!(result, Err(PaymentError::Unavailable(_))), "{result:?}");
        server.elapsed_seconds.fetch_add(1, Ordering::Relaxed);
    }
    server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
}

#[tokio::test]
async fn payment_can_be_cancelled_after_permanent_failure() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_broken").await;
    for _ in 0..3 {
        let failed = server.stripe.confirm(order, &payment, RETURN_URL).await;
        assert!(matches!(failed, Err(PaymentError::Unavailable(_))), "{failed:?}");
    }
    assert_eq!(
        server.stripe.cancel(&payment).await.unwrap(),
        PaymentStatus::Cancelled
    );
}

#[tokio::test]
async fn concurrent_confirmations_charge_once() {
    let server = start_simulator().await;
    let (order, payment) = create_payment(&server.stripe, "pm_slow").await;
    let (first, second) = tokio::join!(
        server.stripe.confirm(order, &payment, RETURN_URL),
        server.stripe.confirm(order, &payment, RETURN_URL)
    );
    let (charged, in_flight) = if first.is_ok() {
        (first, second)
    } else {
        (second, first)
    };
    charged.unwrap();
    assert!(
        matches!(in_flight, Err(PaymentError::Unavailable(_))),
        "{in_flight:?}"
    );
    server.stripe.confirm(order, &payment, RETURN_URL).await.unwrap();
}

#[tokio::test]
async fn rejected_api_key_is_not_retried_and_not_shown() {
    let server = start_simulator().await;
    let stripe = Stripe::new(&server.url, &"sk_live_very_secret".into()).unwrap();
    let result = stripe.find(&PaymentId("pi_none".into())).await.unwrap_err();
    assert!(
        matches!(result, PaymentError::Rejected { status: 401, .. }),
        "{result:?}"
    );
    assert!(!format!("{result:?} {result}").contains("secret"));
}
