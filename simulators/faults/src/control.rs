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

use crate::{Counts, FunctionFault, Plan, Rule, RuleId};

/// The largest event that Lambda hands a function, 6 MiB, and some more.
const LARGEST_EVENT: usize = 8 * 1024 * 1024;

/// What became of a rule.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub hits: u64,
}

/// Serves the plan.
pub fn router(plan: Arc<Plan>) -> Router {
    Router::new()
        .route("/health", get(|| async { StatusCode::NO_CONTENT }))
        .route("/rules", post(set).delete(clear))
        .route("/rules/{id}", get(look).merge(delete(lift)))
        .route("/counts", get(counts))
        .route("/invocations/{function}", post(invocation))
        .layer(DefaultBodyLimit::max(LARGEST_EVENT))
        .with_state(plan)
}

async fn set(State(plan): State<Arc<Plan>>, Json(rule): Json<Rule>) -> Json<RuleId> {
    Json(plan.set(rule))
}

async fn clear(State(plan): State<Arc<Plan>>) -> StatusCode {
    plan.clear();
    StatusCode::NO_CONTENT
}

async fn look(State(plan): State<Arc<Plan>>, Path(id): Path<RuleId>) -> Response {
    match plan.hits(id) {
        Some(hits) => Json(Standing { hits }).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn lift(State(plan): State<Arc<Plan>>, Path(id): Path<RuleId>) -> StatusCode {
    if plan.lift(id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn counts(State(plan): State<Arc<Plan>>) -> Json<Counts> {
    Json(plan.counts())
}

async fn invocation(
    State(plan): State<Arc<Plan>>,
    Path(function): Path<String>,
    event: Bytes,
) -> Json<Option<FunctionFault>> {
    let fault = plan.invocation(&function, &event);
    if let Some(fault) = fault {
        tracing::info!(function, ?fault, "an invocation is disturbed");
    }
    Json(fault)
}
