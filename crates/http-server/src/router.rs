//! What is around every route.

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use domain::Clock;
use futures::FutureExt;

use crate::{Problem, security_headers::SecurityHeadersLayer, trace::trace_request};

/// The largest body: an order of a hundred lines has a tenth of it.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The longest that a request may take. API Gateway gives up at 30 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);

/// Puts around `routes` what every service of ours has: a trace, a log line, limits of size and time, and a
/// problem document for each of the framework's own refusals.
pub fn with_common_middleware(routes: Router, clock: Clock) -> Router {
    routes
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
            )
            .detail("The header Allow lists the supported methods.")
        })
        // In one step, from the outermost in: each step more costs every request a copy of all that is within it.
        .layer((
            from_fn_with_state(clock, trace_request),
            SecurityHeadersLayer,
            from_fn(timeout_and_catch_panic),
            DefaultBodyLimit::max(MAX_BODY_BYTES),
        ))
}

/// There is an answer to everything, in time.
async fn timeout_and_catch_panic(request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            // The panic's message and place are on standard error already; the client is shown neither.
            tracing::error!("a handler panicked");
            Problem::internal_error().into_response()
        }
        Err(_) => Problem::unavailable().into_response(),
    }
}
