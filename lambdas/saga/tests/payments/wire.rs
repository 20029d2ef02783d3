//! What goes over the wire, and the answers that no simulator gives: from gateways, from banks that ask for
//! more, from nobody at all.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
};
use domain::{Clock, PaymentId};
use saga::payments::{
    PaymentError, PaymentProvider, PaymentStatus,
    stripe::{API_VERSION, Stripe, StripeConfigError},
};
use tokio::net::TcpListener;

use crate::contract::{new_order, yen};

type RecordedRequests = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A server that gives every request the same answer.
async fn stub_server(status: u16, body: &'static str) -> (Stripe, RecordedRequests) {
    stub_server_with(move |_| (status, body)).await
}

/// A server whose answer depends on the method.
async fn stub_server_with<F>(answer: F) -> (Stripe, RecordedRequests)
where
    F: Fn(&Method) -> (u16, &'static str) + Clone + Send + Sync + 'static,
{
    let seen = RecordedRequests::default();
    let app = Router::new()
        .fallback(
            move |State(seen): State<RecordedRequests>, request: Request| async move {
                let line = format!("{} {}", request.method(), request.uri());
                seen.lock().unwrap().push((line, request.headers().clone()));
                let (status, body) = answer(request.method());
                (
                    StatusCode::from_u16(status).unwrap(),
                    [("location", "/elsewhere")],
                    body,
                )
            },
        )
        .with_state(seen.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (Stripe::new(&url, &"sk_test_key".into()).unwrap(), seen)
}

fn any_payment() -> PaymentId {
    PaymentId("pi_1".into())
}

#[tokio::test]
async fn what_moves_money_has_a_key_of_its_own_and_every_request_the_version() {
    let (stripe, seen) = stub_server(200, r#"{"id":"pi_1","status":"succeeded"}"#).await;
    let order = new_order();
    stripe
        .create_intent(order, yen(500), "pm_card_visa")
        .await
        .unwrap();
    stripe.confirm(order, &any_payment()).await.unwrap();
    stripe.cancel(&any_payment()).await.unwrap();
    stripe.refund(order, &any_payment()).await.unwrap();
    stripe.find(&PaymentId("pi_1/../?x".into())).await.unwrap();

    let seen = seen.lock().unwrap();
    let lines: Vec<(&str, Option<&str>)> = seen
        .iter()
        .map(|(line, headers)| {
            (
                line.as_str(),
                headers.get("idempotency-key").map(|key| key.to_str().unwrap()),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            (
                "POST /v1/payment_intents",
                Some(format!("{order}-create").as_str())
            ),
            (
                "POST /v1/payment_intents/pi_1/confirm",
                Some(&format!("{order}-confirm"))
            ),
            ("POST /v1/payment_intents/pi_1/cancel", None),
            ("POST /v1/refunds", Some(&format!("{order}-refund"))),
            ("GET /v1/payment_intents/pi_1%2F..%2F%3Fx", None),
        ]
    );
    for (line, headers) in seen.iter() {
        assert_eq!(headers["stripe-version"], API_VERSION, "{line}");
        assert_eq!(headers["authorization"], "Bearer sk_test_key", "{line}");
    }
}

#[tokio::test]
async fn what_says_nothing_about_the_payment_is_worth_a_retry() {
    let answers = [
        (200, ""),
        (200, "{}"),
        (200, r#"{"id":"pi_1","status":"processing"}"#),
        (302, ""),
        (
            409,
            r#"{"error":{"type":"idempotency_error","code":"idempotency_key_in_use"}}"#,
        ),
        (
            429,
            r#"{"error":{"type":"invalid_request_error","code":"lock_timeout"}}"#,
        ),
        (500, r#"{"error":{"type":"api_error"}}"#),
        (502, "<html>Bad Gateway</html>"),
        (503, ""),
        (504, ""),
    ];
    for (status, body) in answers {
        let (stripe, _) = stub_server(status, body).await;
        let answer = stripe.confirm(new_order(), &any_payment()).await;
        assert!(
            matches!(answer, Err(PaymentError::Unavailable(_))),
            "{status} {body}: {answer:?}"
        );
    }
}

/// Stripe keeps a 500 for the key it came with, whether or not the payment was charged.
#[tokio::test]
async fn an_error_that_is_repeated_does_not_hide_what_became_of_the_payment() {
    let after = |payment: &'static str| {
        stub_server_with(move |method| {
            if *method == Method::GET {
                (200, payment)
            } else {
                (500, r#"{"error":{"type":"api_error"}}"#)
            }
        })
    };
    let (charged, _) = after(r#"{"id":"pi_1","status":"succeeded"}"#).await;
    charged.confirm(new_order(), &any_payment()).await.unwrap();
    assert_eq!(
        charged.cancel(&any_payment()).await.unwrap(),
        PaymentStatus::Charged
    );

    let (open, _) = after(r#"{"id":"pi_1","status":"requires_confirmation"}"#).await;
    let confirmed = open.confirm(new_order(), &any_payment()).await;
    assert!(
        matches!(confirmed, Err(PaymentError::Unavailable(_))),
        "{confirmed:?}"
    );
    assert_eq!(open.cancel(&any_payment()).await.unwrap(), PaymentStatus::Open);
}

#[tokio::test]
async fn what_is_refused_for_good_is_not() {
    let answers = [
        (400, r#"{"error":{"type":"idempotency_error"}}"#, "unspecified"),
        (401, "", "unspecified"),
        (
            403,
            r#"{"error":{"code":"platform_api_key_expired"}}"#,
            "platform_api_key_expired",
        ),
        (
            422,
            r#"{"error":{"code":"a code with a card number 4242"}}"#,
            "unspecified",
        ),
    ];
    for (status, body, reason) in answers {
        let (stripe, _) = stub_server(status, body).await;
        let answer = stripe.create_intent(new_order(), yen(500), "pm_card_visa").await;
        let Err(PaymentError::Rejected {
            status: as_status,
            code,
        }) = answer
        else {
            panic!("{answer:?}")
        };
        assert_eq!((as_status, code.as_str()), (status, reason));
    }
}

#[tokio::test]
async fn a_bank_that_wants_to_see_the_customer_declines() {
    let (stripe, _) = stub_server(200, r#"{"id":"pi_1","status":"requires_action"}"#).await;
    let answer = stripe.confirm(new_order(), &any_payment()).await;
    assert!(
        matches!(&answer, Err(PaymentError::Declined { code }) if code == "authentication_required"),
        "{answer:?}"
    );
    assert_eq!(stripe.find(&any_payment()).await.unwrap(), PaymentStatus::Open);
}

#[tokio::test]
async fn a_refund_that_failed_is_not_taken_for_one() {
    for (body, succeeds) in [
        (r#"{"id":"re_1","status":"succeeded"}"#, true),
        (r#"{"id":"re_1","status":"pending"}"#, true),
        (r#"{"id":"re_1","status":"failed"}"#, false),
        (r#"{"id":"re_1","status":"canceled"}"#, false),
    ] {
        let (stripe, _) = stub_server(200, body).await;
        let answer = stripe.refund(new_order(), &any_payment()).await;
        let as_expected = match &answer {
            Ok(()) => succeeds,
            Err(error) => !succeeds && matches!(error, PaymentError::Rejected { .. }),
        };
        assert!(as_expected, "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_worth_a_retry() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let stripe = Stripe::new(&url, &"sk_test_key".into()).unwrap();
    let answer = stripe.find(&any_payment()).await;
    let Err(PaymentError::Unavailable(reason)) = answer else {
        panic!("{answer:?}")
    };
    assert!(
        reason.source().is_some(),
        "the cause is kept for the log: {reason:?}"
    );
}

/// It waits for the real time limit, beside the other tests.
#[tokio::test]
async fn a_provider_that_says_nothing_is_given_up_in_bounded_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stripe = Stripe::new(
        &format!("http://{}", silent.local_addr().unwrap()),
        &"sk_test_key".into(),
    )
    .unwrap();
    let begin = Clock::system().now();
    let answer = stripe.find(&any_payment()).await;
    assert!(matches!(answer, Err(PaymentError::Unavailable(_))), "{answer:?}");
    let waited = (Clock::system().now() - begin).num_seconds();
    assert!(
        (3..15).contains(&waited),
        "longer than a slow charge, shorter than a function: {waited} s"
    );
}

#[test]
fn a_wrong_address_or_key_is_refused_at_the_start() {
    let make = |url: &str, key: &str| Stripe::new(url, &key.to_owned().into()).err();
    assert!(matches!(
        make("api.stripe.com", "sk_test_key"),
        Some(StripeConfigError::InvalidUrl)
    ));
    assert!(matches!(
        make("ftp://api.stripe.com", "sk_test_key"),
        Some(StripeConfigError::InvalidUrl)
    ));
    assert!(matches!(
        make("https://api.stripe.com", "sk_test_key\n"),
        Some(StripeConfigError::InvalidKey)
    ));
    assert!(make("https://api.stripe.com", "sk_test_key").is_none());
}
