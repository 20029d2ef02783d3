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
const AT_ONCE: usize = 1000;

/// How many requests were refused because there was no room.
const SHED: &str = "http_requests_shed_total";

/// Room for requests. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Capacity(Arc<Semaphore>);

impl Capacity {
    /// Room for so many.
    #[must_use]
    pub fn of(requests: usize) -> Self {
        describe_counter!(SHED, "Requests refused because too many were being worked on.");
        Self(Arc::new(Semaphore::new(requests)))
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self::of(AT_ONCE)
    }
}

impl<S> Layer<S> for Capacity {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded {
            inner,
            room: self.0.clone(),
        }
    }
}

/// A service within a [`Capacity`].
#[derive(Clone, Debug)]
pub struct Bounded<S> {
    inner: S,
    room: Arc<Semaphore>,
}

impl<S: Service<Request, Response = Response, Error = Infallible>> Service<Request> for Bounded<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoundedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The place is given back when there is an answer, and also when whoever asked has gone.
        let permit = self.room.clone().try_acquire_owned().ok();
        BoundedFuture {
            answer: permit.is_some().then(|| self.inner.call(request)),
            _permit: permit,
        }
    }
}

pin_project! {
    /// The answer, or the refusal of a request that there is no room for.
    #[derive(Debug)]
    pub struct BoundedFuture<F> {
        #[pin]
        answer: Option<F>,
        _permit: Option<OwnedSemaphorePermit>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for BoundedFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.as_pin_mut() {
            Some(answer) => Poll::Ready(ready!(answer.poll(context))),
            None => {
                counter!(SHED).increment(1);
                Poll::Ready(Ok(Problem::overloaded().into_response()))
            }
        }
    }
}
