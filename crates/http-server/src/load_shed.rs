//! Load shedding: limits concurrent requests and refuses the excess immediately with 503 instead of queueing
//! it.
//!
//! tower's `ConcurrencyLimit` under `LoadShed` would do the same with two boxed futures for each request.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::metrics::{counter, describe_counter};
use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_layer::Layer;
use tower_service::Service;

use crate::Problem;

/// Each request holds its body, 64 KiB at most, and shares ten database connections with the others: with
/// more concurrent requests than this, the last one would wait for seconds.
const DEFAULT_MAX_CONCURRENT_REQUESTS: usize = 1000;

/// The counter of requests that load shedding refused.
const SHED_REQUESTS: &str = "http_requests_shed_total";

/// Limits concurrent requests. Clones share the limit.
#[derive(Clone, Debug)]
pub struct LoadShedLayer(Arc<Semaphore>);

impl LoadShedLayer {
    #[must_use]
    pub fn new(max_concurrent_requests: usize) -> Self {
        describe_counter!(
            SHED_REQUESTS,
            "Requests refused because too many were in progress."
        );
        Self(Arc::new(Semaphore::new(max_concurrent_requests)))
    }
}

impl Default for LoadShedLayer {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_CONCURRENT_REQUESTS)
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed {
            inner,
            semaphore: self.0.clone(),
        }
    }
}

/// A service whose concurrent requests [`LoadShedLayer`] limits.
#[derive(Clone, Debug)]
pub struct LoadShed<S> {
    inner: S,
    semaphore: Arc<Semaphore>,
}

impl<S: Service<Request, Response = Response, Error = Infallible>> Service<Request> for LoadShed<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = LoadShedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The future owns the permit, so that a response and a disconnected client both release it.
        let permit = self.semaphore.clone().try_acquire_owned().ok();
        LoadShedFuture {
            response: permit.is_some().then(|| self.inner.call(request)),
            _permit: permit,
        }
    }
}

pin_project! {
    /// Resolves to the inner service's response, or to 503 when the limit is reached.
    #[derive(Debug)]
    pub struct LoadShedFuture<F> {
        #[pin]
        response: Option<F>,
        _permit: Option<OwnedSemaphorePermit>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for LoadShedFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().response.as_pin_mut() {
            Some(response) => Poll::Ready(ready!(response.poll(context))),
            None => {
                counter!(SHED_REQUESTS).increment(1);
                Poll::Ready(Ok(Problem::overloaded().into_response()))
            }
        }
    }
}
