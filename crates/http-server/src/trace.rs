//! Request tracing: one span, one log line and one metric for each request.

use std::{convert::Infallible, time::Instant};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::request::Parts,
    middleware::Next,
    response::Response,
};
use domain::{Clock, Timestamp};
use events::TraceParent;
use tracing::Instrument;

use crate::metrics;

/// Extracts the W3C trace context of the request's span, which continues the client's trace if the client
/// sent one.
#[derive(Clone, Copy, Debug)]
pub struct TraceContext(pub TraceParent);

impl<S: Send + Sync> FromRequestParts<S> for TraceContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // `trace_request` runs in every router and sets it. A router without it shows as a trace of 1970.
        Ok(parts
            .extensions
            .get()
            .copied()
            .unwrap_or_else(|| Self(TraceParent::root(Timestamp::UNIX_EPOCH))))
    }
}

/// Middleware: continues the client's trace, opens the request's span, and logs and measures the request when
/// it ends.
pub(crate) async fn trace_request(State(clock): State<Clock>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = continue_or_start_trace(&request, clock.now());
    let method = request.method().clone();
    // The route's pattern, not the path: ids would make a span name of their own for each request.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let span = tracing::info_span!("request", trace_id = trace.trace_id(), %method, route);
    request.extensions_mut().insert(TraceContext(trace));

    async {
        let response = next.run(request).await;
        let (status, duration) = (response.status().as_u16(), started.elapsed());
        metrics::record_request(&method, route, status, duration);
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(status, duration_ms, "request completed");
        response
    }
    .instrument(span)
    .await
}

fn continue_or_start_trace(request: &Request, at: Timestamp) -> TraceParent {
    let header = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    match header.and_then(|text| text.parse::<TraceParent>().ok()) {
        Some(client) => client.child(at),
        None => TraceParent::root(at),
    }
}
