//! `GET /health` and `GET /ready`.

use std::sync::Arc;

use axum::http::StatusCode;
use http_server::{Readiness, ReadinessCheck};
use serde_json::json;

use crate::support::{get_request, send};

#[tokio::test]
async fn readiness_lists_dependencies_that_are_down() {
    let up: ReadinessCheck = Arc::new(|| Box::pin(async { Ok(()) }));
    let down: ReadinessCheck = Arc::new(|| Box::pin(async { Err("refused".to_owned()) }));
    let readiness = Readiness::default();

    let all_up = http_server::health_routes(readiness.clone(), vec![("database", up.clone())]);
    let (response, body) = send(all_up.clone(), get_request("/ready")).await;
    assert_eq!(
        (response.status(), body["status"].as_str()),
        (StatusCode::OK, Some("ready"))
    );

    let one_down = http_server::health_routes(readiness.clone(), vec![("database", up), ("queue", down)]);
    let (response, body) = send(one_down, get_request("/ready")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["dependencies"], json!({"database": "up", "queue": "down"}));

    readiness.mark_unready();
    assert_eq!(
        send(all_up.clone(), get_request("/ready")).await.0.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        send(all_up, get_request("/health")).await.0.status(),
        StatusCode::OK
    );
}
