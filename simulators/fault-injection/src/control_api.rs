//! The control API: rules and counts over HTTP, and the wrapper's question about an invocation.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::{Deserialize, Serialize};

use crate::{FunctionFault, OperationCounts, Rule, RuleEngine, RuleId};

/// The largest event that Lambda hands a function, 6 MiB, and some more.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// What became of a rule.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RuleStatus {
    pub hits: u64,
}

/// Serves the plan.
pub fn router(plan: Arc<RuleEngine>) -> Router {
    Router::new()
        .route("/health", get(|| async { StatusCode::NO_CONTENT }))
        .route("/rules", post(add_rule).delete(clear_rules))
        .route("/rules/{id}", get(show_rule).merge(delete(remove_rule)))
        .route("/counts", get(operation_counts))
        .route("/invocations/{function}", post(invocation_fault))
        .layer(DefaultBodyLimit::max(MAX_EVENT_BYTES))
        .with_state(plan)
}

async fn add_rule(State(plan): State<Arc<RuleEngine>>, Json(rule): Json<Rule>) -> Json<RuleId> {
    Json(plan.add_rule(rule))
}

async fn clear_rules(State(plan): State<Arc<RuleEngine>>) -> StatusCode {
    plan.clear_rules();
    StatusCode::NO_CONTENT
}

async fn show_rule(State(plan): State<Arc<RuleEngine>>, Path(id): Path<RuleId>) -> Response {
    match plan.hits(id) {
        Some(hits) => Json(RuleStatus { hits }).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn remove_rule(State(plan): State<Arc<RuleEngine>>, Path(id): Path<RuleId>) -> StatusCode {
    if plan.remove_rule(id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn operation_counts(State(plan): State<Arc<RuleEngine>>) -> Json<OperationCounts> {
    Json(plan.counts())
}

async fn invocation_fault(
    State(plan): State<Arc<RuleEngine>>,
    Path(function): Path<String>,
    event: Bytes,
) -> Json<Option<FunctionFault>> {
    let fault = plan.fault_for_invocation(&function, &event);
    if let Some(fault) = fault {
        tracing::info!(function, ?fault, "an invocation is disturbed");
    }
    Json(fault)
}
