//! Load shedding: limits concurrent requests and refuses the excess immediately with 503 instead of queueing
//! it.

use std::sync::Arc;

use ::metrics::{counter, describe_counter};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use crate::Problem;

/// Each request holds its body, 64 KiB at most, and shares ten database connections with the others: with
/// more concurrent requests than this, the last one would wait for seconds.
const DEFAULT_MAX_CONCURRENT_REQUESTS: usize = 1000;

/// The counter of requests that load shedding refused.
const SHED_REQUESTS: &str = "http_requests_shed_total";

/// The limit of concurrent requests. Clones share it.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit(Arc<Semaphore>);

impl ConcurrencyLimit {
    #[must_use]
    pub fn new(max_concurrent_requests: usize) -> Self {
        describe_counter!(
            SHED_REQUESTS,
            "Requests refused because too many were in progress."
        );
        Self(Arc::new(Semaphore::new(max_concurrent_requests)))
    }
}

impl Default for ConcurrencyLimit {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_CONCURRENT_REQUESTS)
    }
}

/// Middleware that refuses requests above the limit.
pub async fn shed_load(State(limit): State<ConcurrencyLimit>, request: Request, next: Next) -> Response {
    // Dropped with this future, so that a response and a disconnected client both release it.
    let Ok(_permit) = limit.0.try_acquire() else {
        counter!(SHED_REQUESTS).increment(1);
        return Problem::overloaded().into_response();
    };
    next.run(request).await
}
