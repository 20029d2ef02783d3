//! What is around every route.

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use domain::Clock;
use futures::FutureExt;

use crate::{Problem, trace::follow};

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
        .layer(from_fn_with_state(clock, around))
}

/// Everything in one layer: each costs every request a few allocations, and a copy of all that is within it.
async fn around(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    follow(&clock, request, async |request| {
        let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
        let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, answering).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                // The panic's message and place are on standard error already; the client is shown neither.
                tracing::error!("a handler panicked");
                Problem::unexplained().into_response()
            }
            Err(_) => Problem::unavailable().into_response(),
        };
        // No browser may guess at what an answer is.
        let nosniff = HeaderValue::from_static("nosniff");
        response
            .headers_mut()
            .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        response
    })
    .await
}
