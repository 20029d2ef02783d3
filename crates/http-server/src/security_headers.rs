//! Adds security headers to every response.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// The headers of OWASP's REST Security Cheat Sheet. The API returns data only: a browser must not cache a
/// response, execute it, frame it or guess its type.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // The load balancer terminates TLS. Browsers ignore this header on a response over plain HTTP.
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

/// Adds the security headers to every response. A header that the handler has set stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct SecurityHeadersLayer;

impl<S> Layer<S> for SecurityHeadersLayer {
    type Service = SecurityHeaders<S>;

    fn layer(&self, inner: S) -> SecurityHeaders<S> {
        SecurityHeaders(inner)
    }
}

/// A service to whose responses [`SecurityHeadersLayer`] adds headers.
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
        SecurityHeadersFuture {
            response: self.0.call(request),
        }
    }
}

pin_project! {
    /// Resolves to the inner service's response with the security headers.
    #[derive(Debug)]
    pub struct SecurityHeadersFuture<F> {
        #[pin]
        response: F,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for SecurityHeadersFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(mut response) = ready!(self.project().response.poll(context));
        let headers = response.headers_mut();
        headers.reserve(SECURITY_HEADERS.len());
        for (name, value) in SECURITY_HEADERS {
            headers.entry(name).or_insert(value);
        }
        Poll::Ready(Ok(response))
    }
}
