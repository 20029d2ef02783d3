//! Contract tests against localstripe (PyPI), an independent implementation of Stripe's documentation.
//!
//! localstripe differs from Stripe in these points:
//!
//! - It ignores idempotency keys: a repetition is a new request.
//! - It does not accept a payment method in a confirmation (500), nor a `return_url` (400).
//! - It supports only the test methods `pm_card_visa`, `pm_card_visa_chargeDeclined` (which it charges) and
//!   `pm_card_chargeCustomerFail`, and returns 404 for others.
//! - Its errors have no `decline_code`, a `code` only for declines, and always the type
//!   `invalid_request_error`.
//! - It refunds a charge repeatedly.
//! - A refund of a payment that was never confirmed returns a 500, and so does the list of its refunds.

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use saga::payments::stripe::Stripe;
use tokio::net::TcpListener;

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
    let url = start_proxy_without_return_urls(url).await;
    LocalstripeServer {
        stripe: Stripe::new(&url, &"sk_test_12345".into()).unwrap(),
    }
}

/// Starts a proxy to `upstream` that removes the `return_url` of confirmations, their only parameter.
async fn start_proxy_without_return_urls(upstream: String) -> String {
    let http = reqwest::Client::new();
    let forward = move |request: Request| {
        let (http, upstream) = (http.clone(), upstream.clone());
        async move { forward_without_return_url(&http, &upstream, request).await }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(forward);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn forward_without_return_url(
    http: &reqwest::Client,
    upstream: &str,
    request: Request,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let is_confirmation = parts.uri.path().ends_with("/confirm");
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let forwarded = http
        .request(parts.method, format!("{upstream}{}", parts.uri))
        .headers(headers)
        .body(if is_confirmation {
            Vec::new()
        } else {
            body.to_vec()
        });
    let response = forwarded.send().await.unwrap();
    let (status, mut headers) = (response.status(), response.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    (status, headers, response.bytes().await.unwrap().to_vec())
}

crate::contract::contract_tests!(connect());
