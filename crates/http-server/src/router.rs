//! The middleware that every HTTP service puts around its routes.

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

use crate::{
    Problem, request_limits::check_request_head, security_headers::add_security_headers, trace::trace_request,
};

/// The largest request body. An order of a hundred lines needs a tenth of it.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// API Gateway gives up after 30 s; our own response must come before that.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);

/// Adds to `routes`: a trace, a log line and a metric for each request, security headers, limits of size and
/// time, and problem documents for unknown routes and methods.
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
        // One `layer` call, outermost first: with each further call, every request would copy the services
        // inside it.
        .layer((
            from_fn_with_state(clock, trace_request),
            from_fn(limit_and_protect),
            DefaultBodyLimit::max(MAX_BODY_BYTES),
        ))
}

/// Middleware: refuses requests with a large head, limits the time of the others, and adds security headers
/// to each response.
async fn limit_and_protect(request: Request, next: Next) -> Response {
    let mut response = match check_request_head(request.uri(), request.headers()) {
        Ok(()) => run_with_timeout(request, next).await,
        Err(problem) => problem.into_response(),
    };
    add_security_headers(&mut response);
    response
}

/// Responds with 503 when a handler exceeds the timeout, and with 500 when it panics.
async fn run_with_timeout(request: Request, next: Next) -> Response {
    let response = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(REQUEST_TIMEOUT, response).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            // The panic hook has already written message and location to standard error; the client sees
            // neither.
            tracing::error!("request handler panicked");
            Problem::internal_error().into_response()
        }
        Err(_) => Problem::unavailable().into_response(),
    }
}
