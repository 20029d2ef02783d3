//! `GET /health` (liveness) and `GET /ready` (readiness, with the state of each dependency).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use futures::future::{BoxFuture, join_all};
use serde_json::{Map, Value, json};

use crate::Json;

/// A dependency that does not respond within this time counts as down.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks whether a dependency is available. `/ready` logs the error and does not return it.
pub type ReadinessCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Whether the load balancer should send requests to this service. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on `/ready` responds with 503, so that the load balancer sends requests to other instances.
    pub fn mark_unready(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_marked_unready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The routes `/health` and `/ready`. Each request to `/ready` runs all `checks` concurrently.
pub fn health_routes(readiness: Readiness, checks: Vec<(&'static str, ReadinessCheck)>) -> Router {
    Router::new()
        .route("/health", get(async || Json(json!({"status": "alive"}))))
        .route("/ready", get(ready))
        .with_state((readiness, Arc::new(checks)))
}

type ReadyState = (Readiness, Arc<Vec<(&'static str, ReadinessCheck)>>);

async fn ready(State((readiness, checks)): State<ReadyState>) -> (StatusCode, Json<Value>) {
    let results = join_all(checks.iter().map(async |(name, check)| {
        let reason = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
            Ok(Ok(())) => return (*name, "up"),
            Ok(Err(reason)) => reason,
            Err(_) => "timed out".to_owned(),
        };
        tracing::warn!(dependency = name, reason, "readiness check failed");
        (*name, "down")
    }))
    .await;

    let all_up = results.iter().all(|(_, state)| *state == "up");
    let dependencies: Map<String, Value> = results
        .into_iter()
        .map(|(name, state)| (name.to_owned(), state.into()))
        .collect();
    let (status_code, status) = match (readiness.is_marked_unready(), all_up) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
        (false, true) => (StatusCode::OK, "ready"),
    };
    (
        status_code,
        Json(json!({"status": status, "dependencies": dependencies})),
    )
}
