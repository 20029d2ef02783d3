//! `GET /health` (alive) and `GET /ready` (each dependency by its name).

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

/// How long a dependency may take to answer before it counts as down.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks a dependency whether it is there. The error is logged and not shown.
pub type ReadinessCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Whether this program wants to be sent requests. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on `/ready` answers 503, so that the load balancer turns elsewhere.
    pub fn mark_unready(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_marked_unready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The two routes. `checks` are asked, all at once, whenever `/ready` is.
pub fn health_routes(readiness: Readiness, checks: Vec<(&'static str, ReadinessCheck)>) -> Router {
    Router::new()
        .route("/health", get(async || Json(json!({"status": "alive"}))))
        .route("/ready", get(ready))
        .with_state((readiness, Arc::new(checks)))
}

type ReadyState = (Readiness, Arc<Vec<(&'static str, ReadinessCheck)>>);

async fn ready(State((readiness, checks)): State<ReadyState>) -> (StatusCode, Json<Value>) {
    let answers = join_all(checks.iter().map(async |(name, check)| {
        let answer = tokio::time::timeout(CHECK_TIMEOUT, check()).await;
        let reason = match answer {
            Ok(Ok(())) => return (*name, "up"),
            Ok(Err(reason)) => reason,
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(dependency = name, reason, "a dependency is down");
        (*name, "down")
    }))
    .await;

    let all_up = answers.iter().all(|(_, state)| *state == "up");
    let dependencies: Map<String, Value> = answers
        .into_iter()
        .map(|(name, state)| (name.to_owned(), state.into()))
        .collect();
    let (status, word) = match (readiness.is_marked_unready(), all_up) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
        (false, true) => (StatusCode::OK, "ready"),
    };
    (
        status,
        Json(json!({"status": word, "dependencies": dependencies})),
    )
}
