//! How many requests are worked on at once. One more is refused at once, which is kinder than to let all of them wait.
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

/// How many a program works on at once. Each holds its body, 64 KiB at most, and waits for one of ten connections to the
/// database: the thousandth would wait for seconds.
const DEFAULT_MAX_CONCURRENT_REQUESTS: usize = 1000;

/// How many requests were refused because there was no room.
const SHED_REQUESTS: &str = "http_requests_shed_total";

/// Room for requests. Cloning shares it.
#[derive(Clone, Debug)]
pub struct LoadShedLayer(Arc<Semaphore>);

impl LoadShedLayer {
    /// Room for so many.
    #[must_use]
    pub fn new(requests: usize) -> Self {
        describe_counter!(
            SHED_REQUESTS,
            "Requests refused because too many were being worked on."
        );
        Self(Arc::new(Semaphore::new(requests)))
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

/// A service within a [`Capacity`].
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
        // The place is given back when there is an answer, and also when whoever asked has gone.
        let permit = self.semaphore.clone().try_acquire_owned().ok();
        LoadShedFuture {
            answer: permit.is_some().then(|| self.inner.call(request)),
            _permit: permit,
        }
    }
}

pin_project! {
    /// The answer, or the refusal of a request that there is no room for.
    #[derive(Debug)]
    pub struct LoadShedFuture<F> {
        #[pin]
        answer: Option<F>,
        _permit: Option<OwnedSemaphorePermit>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for LoadShedFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.as_pin_mut() {
            Some(answer) => Poll::Ready(ready!(answer.poll(context))),
            None => {
                counter!(SHED_REQUESTS).increment(1);
                Poll::Ready(Ok(Problem::overloaded().into_response()))
            }
        }
    }
}
