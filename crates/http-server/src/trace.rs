//! One trace, one log line and one measurement a request.

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

/// The span of the request in the trace that its client began, or in one of its own.
#[derive(Clone, Copy, Debug)]
pub struct TraceContext(pub TraceParent);

impl<S: Send + Sync> FromRequestParts<S> for TraceContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Every router of ours runs `follow`; a trace from the epoch is seen at once if one does not.
        Ok(parts
            .extensions
            .get()
            .copied()
            .unwrap_or_else(|| Self(TraceParent::root(Timestamp::UNIX_EPOCH))))
    }
}

/// Continues the client's trace, opens the request's span and logs its end.
pub(crate) async fn trace_request(State(clock): State<Clock>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = continue_or_start_trace(&request, clock.now());
    let method = request.method().clone();
    // The route's pattern, not the path: ids would make a name of their own of every request.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let pattern = route.as_ref().map(MatchedPath::as_str);
    let span = tracing::info_span!("request", trace_id = trace.trace_id(), %method, route = pattern);
    request.extensions_mut().insert(TraceContext(trace));

    async {
        let response = next.run(request).await;
        let (status, took) = (response.status().as_u16(), started.elapsed());
        metrics::record_request(&method, pattern, status, took);
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(status, duration_ms, "answered");
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
