//! What a request's head may be, and what every answer tells a browser.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Problem;

/// The longest path with its query, in bytes: a listing with every filter and a cursor has a tenth of it.
const MAX_TARGET_BYTES: usize = 4096;

/// The most header lines. A browser behind two proxies sends thirty.
const MAX_HEADERS: usize = 64;

/// The most bytes in all headers together. The longest access token has 4 KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What OWASP's cheat sheet for REST asks of every answer, unless a handler knows better. An answer is data: nothing in it
/// may run, be framed, or be taken for something else, nor be kept by anybody.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // TLS ends before us. A browser that was not asked by TLS takes no notice of it.
    (
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=63072000; includeSubDomains"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Refuses requests whose head is too large, and puts the headers on every answer that are for its safety.
#[derive(Clone, Copy, Debug)]
pub struct SecurityHeadersLayer;

impl<S> Layer<S> for SecurityHeadersLayer {
    type Service = SecurityHeaders<S>;

    fn layer(&self, inner: S) -> SecurityHeaders<S> {
        SecurityHeaders(inner)
    }
}

/// A service behind [`Harden`].
#[derive(Clone, Debug)]
pub struct SecurityHeaders<S>(S);

impl<S: Service<Request, Response = Response, Error = Infallible>> Service<Request> for SecurityHeaders<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = SecurityHeadersFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match check_request_head(request.uri(), request.headers()) {
            Ok(()) => SecurityHeadersFuture::Answer {
                answer: self.0.call(request),
            },
            Err(problem) => SecurityHeadersFuture::Refusal {
                problem: Some(problem),
            },
        }
    }
}

pin_project! {
    /// The answer on its way, or the refusal.
    #[derive(Debug)]
    #[project = Projected]
    pub enum SecurityHeadersFuture<F> {
        /// The service's answer.
        Answer { #[pin] answer: F },
        /// Ours.
        Refusal { problem: Option<Problem> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for SecurityHeadersFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = match self.project() {
            Projected::Answer { answer } => match ready!(answer.poll(context)) {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Projected::Refusal { problem } => problem
                .take()
                .expect("an answer is asked for once")
                .into_response(),
        };
        let headers = response.headers_mut();
        headers.reserve(SECURITY_HEADERS.len());
        for (name, value) in SECURITY_HEADERS {
            headers.entry(name).or_insert(value);
        }
        Poll::Ready(Ok(response))
    }
}

fn check_request_head(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if uri.path_and_query().map_or(0, |target| target.as_str().len()) > MAX_TARGET_BYTES {
        return Err(
            Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", "URI too long")
                .detail("Path and query can have at most 4 KiB together."),
        );
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers-too-large",
            "Request headers too large",
        )
        .detail("A request can have at most 64 header fields and 16 KiB of headers."));
    }
    Ok(())
}
