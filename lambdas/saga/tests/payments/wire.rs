//! Tests of the requests that the client sends, and of responses that no simulator returns: from proxies,
//! from banks that require authentication, and no response at all.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::AppendHeaders,
};
use domain::{Clock, CustomerSecret, PaymentAction, PaymentId};
use saga::payments::{
    Confirmation, PaymentError, PaymentProvider, PaymentStatus,
    stripe::{API_VERSION, Stripe, StripeConfigError},
};
use tokio::net::TcpListener;

use crate::contract::{RETURN_URL, any_user, new_order, yen};

type RecordedRequests = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A server that returns the same response to every request.
async fn stub_server(status: u16, body: &'static str) -> (Stripe, RecordedRequests) {
    stub_server_with(move |_| StubResponse::new(status, body)).await
}

struct StubResponse {
    status: u16,
    body: &'static str,
    /// Whether the server says that it repeats a stored response.
    is_repeated: bool,
}

impl StubResponse {
    fn new(status: u16, body: &'static str) -> Self {
        Self {
            status,
            body,
            is_repeated: false,
        }
    }

    fn repeated(status: u16, body: &'static str) -> Self {
        Self {
            is_repeated: true,
            ..Self::new(status, body)
        }
    }
}

/// A server whose response depends on the request.
async fn stub_server_with<F>(respond: F) -> (Stripe, RecordedRequests)
where
    F: Fn(&Request) -> StubResponse + Clone + Send + Sync + 'static,
{
    let requests = RecordedRequests::default();
    let app = Router::new()
        .fallback(
            move |State(requests): State<RecordedRequests>, request: Request| async move {
                let line = format!("{} {}", request.method(), request.uri());
                requests.lock().unwrap().push((line, request.headers().clone()));
                let response = respond(&request);
                let replayed = response.is_repeated.then_some(("idempotent-replayed", "true"));
                (
                    StatusCode::from_u16(response.status).unwrap(),
                    [("location", "/elsewhere")],
                    AppendHeaders(replayed),
                    response.body,
                )
            },
        )
        .with_state(requests.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (Stripe::new(&url, &"sk_test_key".into()).unwrap(), requests)
}

fn any_payment() -> PaymentId {
    PaymentId("pi_1".into())
}

#[tokio::test]
async fn requests_have_idempotency_keys_and_the_api_version() {
    let body = r#"{"id":"pi_1","status":"succeeded","amount":500,"data":[]}"#;
    let (stripe, requests) = stub_server(200, body).await;
    let order = new_order();
    stripe
        .create_intent(any_user(), order, yen(500), "pm_card_visa")
        .await
        .unwrap();
    stripe.confirm(order, &any_payment(), RETURN_URL).await.unwrap();
    stripe.cancel(&any_payment()).await.unwrap();
    stripe.refund(order, &any_payment(), yen(500)).await.unwrap();
    stripe.find(&PaymentId("pi_1/../?x".into())).await.unwrap();

    let requests = requests.lock().unwrap();
    let lines: Vec<(&str, Option<&str>)> = requests
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
                Some(format!("{order}-intent").as_str())
            ),
            (
                "POST /v1/payment_intents/pi_1/confirm",
                Some(&format!("{order}-confirm"))
            ),
            ("POST /v1/payment_intents/pi_1/cancel", None),
            ("GET /v1/refunds?payment_intent=pi_1&limit=100", None),
            ("POST /v1/refunds", Some(&format!("{order}-refund"))),
            ("GET /v1/payment_intents/pi_1%2F..%2F%3Fx", None),
        ]
    );
    for (line, headers) in requests.iter() {
        assert_eq!(headers["stripe-version"], API_VERSION, "{line}");
        assert_eq!(headers["authorization"], "Bearer sk_test_key", "{line}");
    }
}

#[tokio::test]
async fn ambiguous_responses_are_retryable() {
    let responses = [
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
    for (status, body) in responses {
        let (stripe, _) = stub_server(status, body).await;
        let result = stripe.confirm(new_order(), &any_payment(), RETURN_URL).await;
        assert!(
            matches!(result, Err(PaymentError::Unavailable(_))),
            "{status} {body}: {result:?}"
        );
    }
}

const SERVER_ERROR: &str = r#"{"error":{"type":"api_error"}}"#;

#[tokio::test]
async fn server_error_does_not_hide_the_payment_status() {
    let stub_returning = |payment: &'static str| {
        stub_server_with(move |request| match *request.method() {
            Method::GET => StubResponse::new(200, payment),
            _ => StubResponse::new(500, SERVER_ERROR),
        })
    };
    let (charged, _) = stub_returning(r#"{"id":"pi_1","status":"succeeded"}"#).await;
    charged
        .confirm(new_order(), &any_payment(), RETURN_URL)
        .await
        .unwrap();
    assert_eq!(
        charged.cancel(&any_payment()).await.unwrap(),
        PaymentStatus::Charged
    );

    let (open, _) = stub_returning(r#"{"id":"pi_1","status":"requires_confirmation"}"#).await;
    let confirmed = open.confirm(new_order(), &any_payment(), RETURN_URL).await;
    assert!(
        matches!(confirmed, Err(PaymentError::Unavailable(_))),
        "{confirmed:?}"
    );
    assert_eq!(open.cancel(&any_payment()).await.unwrap(), PaymentStatus::Open);
}

/// Stripe has stored a response under the first three keys of every effect.
#[tokio::test]
async fn stored_responses_are_passed_one_key_after_the_other() {
    const UNCHARGED: &str = r#"{"id":"pi_1","status":"requires_confirmation","data":[]}"#;
    const DONE: &str = r#"{"id":"pi_1","status":"succeeded","amount":500}"#;
    let (stripe, requests) = stub_server_with(|request| {
        let key = request.headers().get("idempotency-key");
        let attempt = key.map(|key| key.to_str().unwrap().rsplit('-').next().unwrap().to_owned());
        match attempt.as_deref() {
            None => StubResponse::new(200, UNCHARGED),
            Some("4") => StubResponse::new(200, DONE),
            Some(_) => StubResponse::repeated(500, SERVER_ERROR),
        }
    })
    .await;
    let order = new_order();
    stripe
        .create_intent(any_user(), order, yen(500), "pm_card_visa")
        .await
        .unwrap();
    stripe.confirm(order, &any_payment(), RETURN_URL).await.unwrap();
    stripe.refund(order, &any_payment(), yen(500)).await.unwrap();
    let requests = requests.lock().unwrap();
    let keys: Vec<&str> = requests
        .iter()
        .filter_map(|(_, headers)| Some(headers.get("idempotency-key")?.to_str().unwrap()))
        .collect();
    let expected = ["intent", "confirm", "refund"].map(|effect| {
        let key = format!("{order}-{effect}");
        [
            key.clone(),
            format!("{key}-2"),
            format!("{key}-3"),
            format!("{key}-4"),
        ]
    });
    assert_eq!(keys, expected.concat());
}

/// A refund that fails later was a success when Stripe stored the response.
#[tokio::test]
async fn stored_success_of_a_failed_refund_is_passed() {
    let (stripe, requests) = stub_server_with(|request| {
        let key = request.headers().get("idempotency-key");
        match key.map(|key| key.to_str().unwrap().ends_with("-refund")) {
            None => StubResponse::new(
                200,
                r#"{"data":[{"amount":500,"status":"failed"},{"amount":400,"status":"canceled"}]}"#,
            ),
            Some(true) => StubResponse::repeated(200, r#"{"amount":500,"status":"pending"}"#),
            Some(false) => StubResponse::new(200, r#"{"amount":500,"status":"pending"}"#),
        }
    })
    .await;
    stripe
        .refund(new_order(), &any_payment(), yen(500))
        .await
        .unwrap();
    let requests = requests.lock().unwrap();
    assert!(
        requests.iter().any(|(_, headers)| headers
            .get("idempotency-key")
            .is_some_and(|key| key.to_str().unwrap().ends_with("-refund-2"))),
        "{requests:?}"
    );
}

/// An operator has refunded a part in Stripe's dashboard.
#[tokio::test]
async fn only_refunds_of_the_whole_amount_count() {
    for (refunds, is_refunded) in [
        (r#"{"data":[{"amount":300,"status":"succeeded"}]}"#, false),
        (
            r#"{"data":[{"amount":300,"status":"succeeded"},{"amount":200,"status":"pending"}]}"#,
            true,
        ),
    ] {
        let (stripe, _) = stub_server_with(move |request| match *request.method() {
            Method::GET => StubResponse::new(200, refunds),
            _ => StubResponse::new(503, ""),
        })
        .await;
        let result = stripe.refund(new_order(), &any_payment(), yen(500)).await;
        match is_refunded {
            true => result.unwrap(),
            false => assert!(matches!(result, Err(PaymentError::Unavailable(_))), "{result:?}"),
        }
    }
}

/// The response that reported the decline was lost or replaced by a server error.
#[tokio::test]
async fn decline_is_found_after_a_server_error() {
    let (stripe, _) = stub_server_with(|request| match *request.method() {
        Method::GET => StubResponse::new(
            200,
            r#"{"id":"pi_1","status":"requires_payment_method",
                "last_payment_error":{"code":"card_declined","decline_code":"insufficient_funds"}}"#,
        ),
        _ => StubResponse::new(500, SERVER_ERROR),
    })
    .await;
    let result = stripe.confirm(new_order(), &any_payment(), RETURN_URL).await;
    assert!(
        matches!(&result, Err(PaymentError::Declined { code }) if code == "insufficient_funds"),
        "{result:?}"
    );
}

/// Stripe stored the response while the charge was being processed.
#[tokio::test]
async fn stored_response_does_not_hide_the_present_status() {
    let (stripe, _) = stub_server_with(|request| match *request.method() {
        Method::GET => StubResponse::new(200, r#"{"id":"pi_1","status":"succeeded"}"#),
        _ => StubResponse::repeated(200, r#"{"id":"pi_1","status":"processing"}"#),
    })
    .await;
    stripe
        .confirm(new_order(), &any_payment(), RETURN_URL)
        .await
        .unwrap();
}

const WAITING: &str = r#"{"id":"pi_1","status":"requires_action","client_secret":"pi_1_secret_2",
    "next_action":{"type":"redirect_to_url","redirect_to_url":{"url":"https://bank.example/3"}}}"#;

fn action(redirect_url: Option<&str>, kind: &str) -> Confirmation {
    Confirmation::ActionRequired(PaymentAction {
        kind: kind.to_owned(),
        client_secret: CustomerSecret::new("pi_1_secret_2".to_owned()),
        redirect_url: redirect_url.map(|url| CustomerSecret::new(url.to_owned())),
    })
}

#[tokio::test]
async fn required_action_is_no_decline() {
    let (stripe, _) = stub_server(200, WAITING).await;
    let confirmed = stripe.confirm(new_order(), &any_payment(), RETURN_URL).await;
    assert_eq!(
        confirmed.unwrap(),
        action(Some("https://bank.example/3"), "redirect_to_url")
    );
    assert_eq!(stripe.find(&any_payment()).await.unwrap(), PaymentStatus::Open);

    let (stripe, _) = stub_server(
        200,
        r#"{"id":"pi_1","status":"requires_action","client_secret":"pi_1_secret_2",
            "next_action":{"type":"use_stripe_sdk","use_stripe_sdk":{}}}"#,
    )
    .await;
    let confirmed = stripe.confirm(new_order(), &any_payment(), RETURN_URL).await;
    assert_eq!(confirmed.unwrap(), action(None, "use_stripe_sdk"));
}

/// Stripe repeats its first response, or refuses the confirmation of a payment in this status. The payment's
/// present status decides.
#[tokio::test]
async fn repeated_confirmation_has_the_result_of_the_authentication() {
    const UNEXPECTED_STATE: &str = r#"{"error":{"code":"payment_intent_unexpected_state"}}"#;
    for response in [
        || StubResponse::repeated(200, WAITING),
        || StubResponse::repeated(500, SERVER_ERROR),
        || StubResponse::new(400, UNEXPECTED_STATE),
    ] {
        let confirm = async |present: &'static str| {
            let (stripe, requests) = stub_server_with(move |request| match *request.method() {
                Method::GET => StubResponse::new(200, present),
                _ => response(),
            })
            .await;
            let confirmed = stripe.confirm(new_order(), &any_payment(), RETURN_URL).await;
            let count = requests.lock().unwrap().len();
            assert_eq!(count, 2, "a second confirmation would start again");
            confirmed
        };
        assert_eq!(
            confirm(WAITING).await.unwrap(),
            action(Some("https://bank.example/3"), "redirect_to_url")
        );
        assert_eq!(
            confirm(r#"{"id":"pi_1","status":"succeeded"}"#).await.unwrap(),
            Confirmation::Charged
        );
        let denied = confirm(
            r#"{"id":"pi_1","status":"requires_payment_method",
                "last_payment_error":{"code":"payment_intent_authentication_failure"}}"#,
        )
        .await;
        assert!(
            matches!(&denied, Err(PaymentError::Declined { code })
                if code == "payment_intent_authentication_failure"),
            "{denied:?}"
        );
    }
}

#[tokio::test]
async fn permanent_errors_are_not_retryable() {
    let responses = [
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
    for (status, body, reason) in responses {
        let (stripe, _) = stub_server(status, body).await;
        let result = stripe
            .create_intent(any_user(), new_order(), yen(500), "pm_card_visa")
            .await;
        let Err(PaymentError::Rejected {
            status: actual_status,
            code,
        }) = result
        else {
            panic!("{result:?}")
        };
        assert_eq!((actual_status, code.as_str()), (status, reason));
    }
}

#[tokio::test]
async fn failed_refund_is_rejected() {
    for (body, succeeds) in [
        (r#"{"amount":500,"status":"succeeded"}"#, true),
        (r#"{"amount":500,"status":"pending"}"#, true),
        (r#"{"amount":500,"status":"requires_action"}"#, true),
        (r#"{"amount":500,"status":"failed"}"#, false),
        (r#"{"amount":500,"status":"canceled"}"#, false),
    ] {
        let (stripe, _) = stub_server_with(move |request| match *request.method() {
            Method::GET => StubResponse::new(200, r#"{"data":[]}"#),
            _ => StubResponse::new(200, body),
        })
        .await;
        let result = stripe.refund(new_order(), &any_payment(), yen(500)).await;
        let is_expected = match &result {
            Ok(()) => succeeds,
            Err(error) => !succeeds && matches!(error, PaymentError::Rejected { .. }),
        };
        assert!(is_expected, "{body}: {result:?}");
    }
}

#[tokio::test]
async fn refused_connection_is_retryable_and_keeps_its_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let stripe = Stripe::new(&url, &"sk_test_key".into()).unwrap();
    let result = stripe.find(&any_payment()).await;
    let Err(PaymentError::Unavailable(reason)) = result else {
        panic!("{result:?}")
    };
    assert!(
        reason.source().is_some(),
        "the source error must be kept for the log: {reason:?}"
    );
}

/// Waits for the real timeout, concurrently with the other tests.
#[tokio::test]
async fn silent_provider_times_out() {
    let silent_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stripe = Stripe::new(
        &format!("http://{}", silent_listener.local_addr().unwrap()),
        &"sk_test_key".into(),
    )
    .unwrap();
    let started = Clock::system().now();
    let result = stripe.find(&any_payment()).await;
    assert!(matches!(result, Err(PaymentError::Unavailable(_))), "{result:?}");
    let waited = (Clock::system().now() - started).num_seconds();
    assert!(
        (3..15).contains(&waited),
        "the timeout must exceed a slow charge and stay below the function's timeout: {waited} s"
    );
}

#[test]
fn invalid_url_and_api_key_are_rejected() {
    let config_error = |url: &str, key: &str| Stripe::new(url, &key.to_owned().into()).err();
    assert!(matches!(
        config_error("api.stripe.com", "sk_test_key"),
        Some(StripeConfigError::InvalidUrl)
    ));
    assert!(matches!(
        config_error("ftp://api.stripe.com", "sk_test_key"),
        Some(StripeConfigError::InvalidUrl)
    ));
    assert!(matches!(
        config_error("https://api.stripe.com", "sk_test_key\n"),
        Some(StripeConfigError::InvalidKey)
    ));
    assert!(config_error("https://api.stripe.com", "sk_test_key").is_none());
}
