//! Limits the size of a request's URI and headers. The body's limit is axum's `DefaultBodyLimit`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Problem;

/// The longest path and query. A product list with every filter and a cursor needs a tenth of it.
const MAX_URI_BYTES: usize = 4096;

/// The most header fields. A browser behind two proxies sends thirty.
const MAX_HEADERS: usize = 64;

/// The most bytes in the names and values of all headers. The longest access token has 4 KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Refuses requests whose URI (414) or headers (431) are too large.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimitsLayer;

impl<S> Layer<S> for RequestLimitsLayer {
    type Service = RequestLimits<S>;

    fn layer(&self, inner: S) -> RequestLimits<S> {
        RequestLimits(inner)
    }
}

/// A service whose request heads [`RequestLimitsLayer`] limits.
#[derive(Clone, Debug)]
pub struct RequestLimits<S>(S);

impl<S: Service<Request, Response = Response, Error = Infallible>> Service<Request> for RequestLimits<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = RequestLimitsFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match check_request_head(request.uri(), request.headers()) {
            Ok(()) => RequestLimitsFuture::Inner {
                response: self.0.call(request),
            },
            Err(problem) => RequestLimitsFuture::Rejected {
                problem: Some(problem),
            },
        }
    }
}

pin_project! {
    /// Resolves to the inner service's response, or to the rejection.
    #[derive(Debug)]
    #[project = Projected]
    pub enum RequestLimitsFuture<F> {
        Inner { #[pin] response: F },
        Rejected { problem: Option<Problem> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for RequestLimitsFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Inner { response } => response.poll(context),
            Projected::Rejected { problem } => {
                let problem = problem.take().expect("a future is not polled after completion");
                Poll::Ready(Ok(problem.into_response()))
            }
        }
    }
}

fn check_request_head(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let uri_bytes = uri
        .path_and_query()
        .map_or(0, |path_and_query| path_and_query.as_str().len());
    if uri_bytes > MAX_URI_BYTES {
        return Err(
            Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", "URI too long")
                .detail("Path and query can have at most 4 KiB together."),
        );
    }
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || header_bytes > MAX_HEADER_BYTES {
        return Err(Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers-too-large",
            "Request headers too large",
        )
        .detail("A request can have at most 64 header fields and 16 KiB of headers."));
    }
    Ok(())
}
