//! `GET /metrics`: what operators watch, in Prometheus' text format.
//!
//! Anything in the program may record with the crate `metrics`; without [`metrics_routes`] that costs nothing and
//! goes nowhere. The page names routes and counts, no customers; it is for the inside of the network.

use std::time::Duration;

use ::metrics::{SetRecorderError, SharedString, Unit, describe_histogram, histogram};
use axum::{
    Router,
    http::{Method, header},
    routing::get,
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusRecorder};

/// The upper bounds of the durations' buckets, in seconds: from a read of the cache to the longest request.
const DURATION_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 25.0,
];

/// How often durations move into their buckets. Until then each takes eight bytes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The name of the one metric of requests: its `_count` is how many there were.
const REQUEST_DURATION: &str = "http_request_duration_seconds";

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The recorder cannot be made.
    #[error("the metrics' recorder cannot be made")]
    Build(#[from] BuildError),
    /// The program has one already.
    #[error("metrics are being recorded already")]
    AlreadyInstalled(#[from] SetRecorderError<PrometheusRecorder>),
}

/// Starts recording, for the whole program, and gives the route that shows what was recorded. Call it within
/// a tokio runtime, before anything is recorded.
pub fn metrics_routes() -> Result<Router, MetricsError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder)?;
    describe_histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "Requests by method, route and status."
    );

    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let show = move || async move { (content_type, handle.render()) };
    Ok(Router::new().route("/metrics", get(show)))
}

/// Records a request. `route` is the pattern, because ids would make a series of every request.
pub(crate) fn record_request(method: &Method, route: Option<&str>, status: u16, took: Duration) {
    let route = route.map_or(SharedString::const_str("unmatched"), |route| {
        SharedString::from(route.to_owned())
    });
    let labels = [
        ("method", SharedString::const_str(method_label(method))),
        ("route", route),
        ("status", SharedString::from(status.to_string())),
    ];
    histogram!(REQUEST_DURATION, &labels).record(took);
}

/// A client may make up methods, and each would be a series of its own.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
