//! Load shedding of concurrent requests.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    routing::get,
};
use domain::Clock;
use http_server::{ConcurrencyLimit, Readiness, shed_load};
use tokio::{sync::Notify, time::timeout};

use crate::support::{get_request, send};

#[tokio::test]
async fn sheds_requests_above_the_concurrency_limit_immediately() {
    let (finish, started) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow_handler = {
        let (finish, started) = (finish.clone(), started.clone());
        async move || {
            started.notify_one();
            finish.notified().await;
            "done"
        }
    };
    let routes = Router::new()
        .route("/slow", get(slow_handler))
        .route("/quick", get(async || "done"))
        .layer(from_fn_with_state(ConcurrencyLimit::new(2), shed_load));
    let health = http_server::health_routes(Readiness::default(), Vec::new());
    let router = http_server::with_common_middleware(routes.merge(health), Clock::system());
    let spawn_get = |path: &str| {
        let (router, request) = (router.clone(), get_request(path));
        tokio::spawn(async move { send(router, request).await })
    };
    let first = spawn_get("/slow");
    started.notified().await;
    let second = spawn_get("/slow");
    started.notified().await;

    let shed = timeout(Duration::from_secs(1), spawn_get("/quick"));
    let (shed, body) = shed.await.expect("a shed request does not wait").unwrap();
    assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shed.headers()[header::RETRY_AFTER], "1");
    assert_eq!(body["type"], "https://matsuri.dev/problems/overloaded");
    let (health, _) = spawn_get("/health").await.unwrap();
    assert_eq!(health.status(), StatusCode::OK, "health routes are not limited");
    let (ready, _) = spawn_get("/ready").await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);

    // A cancelled request releases its permit, and so does a completed one.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(spawn_get("/quick").await.unwrap().0.status(), StatusCode::OK);
    finish.notify_waiters();
    assert_eq!(second.await.unwrap().0.status(), StatusCode::OK);
}
