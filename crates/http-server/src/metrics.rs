//! `GET /metrics`: metrics for operators, in Prometheus' text format.
//!
//! Any code in the process may record metrics with the crate `metrics`; until [`metrics_routes`] installs the
//! recorder, recording is a no-op. The page contains routes and counts, no customer data, and is for the
//! internal network only.

use std::time::Duration;

use ::metrics::{SetRecorderError, SharedString, Unit, describe_histogram, histogram};
use axum::{
    Router,
    http::{Method, header},
    routing::get,
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusRecorder};

/// Upper bounds of the histogram's buckets, in seconds: from a cache hit to the request timeout.
const DURATION_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 25.0,
];

/// How often the recorder sorts recorded durations into buckets. Until then each duration takes eight bytes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The histogram of request durations. Its `_count` series is the number of requests.
const REQUEST_DURATION: &str = "http_request_duration_seconds";

/// The metrics recorder cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("failed to build the metrics recorder")]
    Build(#[from] BuildError),
    #[error("a metrics recorder is already installed")]
    AlreadyInstalled(#[from] SetRecorderError<PrometheusRecorder>),
}

/// Installs the metrics recorder of the process and returns the route `/metrics`. Call it inside a tokio
/// runtime, before anything records a metric.
pub fn metrics_routes() -> Result<Router, MetricsError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder)?;
    describe_histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "Duration of requests by method, route and status."
    );

    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let render = move || async move { (content_type, handle.render()) };
    Ok(Router::new().route("/metrics", get(render)))
}

/// Records a request. `route` is the route's pattern: a path with ids would create a series for each request.
pub(crate) fn record_request(method: &Method, route: Option<&str>, status: u16, duration: Duration) {
    let route = route.map_or(SharedString::const_str("unmatched"), |route| {
        SharedString::from(route.to_owned())
    });
    let labels = [
        ("method", SharedString::const_str(method_label(method))),
        ("route", route),
        ("status", SharedString::from(status.to_string())),
    ];
    histogram!(REQUEST_DURATION, &labels).record(duration);
}

/// Maps unknown methods to `other`: a client may invent methods, and each would create a series.
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
