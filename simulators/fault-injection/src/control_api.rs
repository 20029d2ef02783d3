//! The control API: manages rules and counts over HTTP, and chooses the fault of each invocation.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::{Deserialize, Serialize};

use crate::{AwsCall, FunctionFault, OperationCounts, Rule, RuleEngine, RuleId};

/// Above Lambda's maximum event size, which is 6 MiB.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RuleStatus {
    pub hits: u64,
}

/// Builds the routes of the control API.
pub fn router(rules: Arc<RuleEngine>) -> Router {
    Router::new()
        .route("/health", get(|| async { StatusCode::NO_CONTENT }))
        .route("/rules", post(add_rule).delete(clear_rules))
        .route("/rules/{id}", get(show_rule).merge(delete(remove_rule)))
        .route("/counts", get(operation_counts))
        .route("/aws-calls", get(aws_calls))
        .route("/invocations/{function}", post(invocation_fault))
        .layer(DefaultBodyLimit::max(MAX_EVENT_BYTES))
        .with_state(rules)
}

async fn add_rule(State(rules): State<Arc<RuleEngine>>, Json(rule): Json<Rule>) -> Json<RuleId> {
    Json(rules.add_rule(rule))
}

async fn clear_rules(State(rules): State<Arc<RuleEngine>>) -> StatusCode {
    rules.clear_rules();
    StatusCode::NO_CONTENT
}

async fn show_rule(State(rules): State<Arc<RuleEngine>>, Path(id): Path<RuleId>) -> Response {
    match rules.hits(id) {
        Some(hits) => Json(RuleStatus { hits }).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn remove_rule(State(rules): State<Arc<RuleEngine>>, Path(id): Path<RuleId>) -> StatusCode {
    if rules.remove_rule(id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn operation_counts(State(rules): State<Arc<RuleEngine>>) -> Json<OperationCounts> {
    Json(rules.counts())
}

async fn aws_calls(State(rules): State<Arc<RuleEngine>>) -> Json<BTreeSet<AwsCall>> {
    Json(rules.aws_calls())
}

async fn invocation_fault(
    State(rules): State<Arc<RuleEngine>>,
    Path(function): Path<String>,
    event: Bytes,
) -> Json<Option<FunctionFault>> {
    let fault = rules.fault_for_invocation(&function, &event);
    if let Some(fault) = fault {
        tracing::info!(function, ?fault, "injecting a fault into an invocation");
    }
    Json(fault)
}
