//! What is around every route.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use domain::Clock;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{Problem, harden::Harden, trace::follow};

/// The largest body: an order of a hundred lines has a tenth of it.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The longest that a request may take. API Gateway gives up at 30 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);

/// Puts around `routes` what every service of ours has: a trace, a log line, limits of size and time, and a
/// problem document for each of the framework's own refusals.
pub fn with_defaults(routes: Router, clock: Clock) -> Router {
    routes
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This cannot be done here",
            )
            .detail("The header Allow names the methods that there are.")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(Harden)
        .layer(from_fn_with_state(clock, follow))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable().into_response(),
    }
}

/// The panic's message and place are on standard error already; the client is shown neither.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    Problem::unexplained().into_response()
}
