//! A test router with the common middleware, and helpers that send requests to it.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use domain::Clock;
use http_body_util::BodyExt;
use http_server::{Json, Path, Query, TraceContext};
use serde::Deserialize;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the tests only check whether it deserialises")]
struct Basket {
    items: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the tests only check whether it deserialises")]
struct Line {
    quantity: u32,
}

#[derive(Deserialize)]
struct Paging {
    limit: u32,
}

/// A router with a route for each extractor, and one that panics.
#[expect(clippy::panic, reason = "a test sends a request to the panicking route")]
pub fn test_router() -> Router {
    let routes = Router::new()
        .route(
            "/baskets",
            post(async |Json(_): Json<Basket>| StatusCode::CREATED),
        )
        .route(
            "/lists",
            get(async |Query(paging): Query<Paging>| paging.limit.to_string()),
        )
        .route(
            "/things/{number}",
            get(async |Path(number): Path<u32>| number.to_string()),
        )
        .route(
            "/trace",
            get(async |TraceContext(trace): TraceContext| trace.to_string()),
        )
        .route("/panic", get(async || -> StatusCode { panic!("a secret") }));
    http_server::with_common_middleware(routes, Clock::system())
}

/// Serves `routes` on a free port until the token is cancelled.
pub async fn start_server(routes: Router) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let router = http_server::with_common_middleware(routes, Clock::system());
    let server = tokio::spawn(http_server::serve_connections(listener, router, stop.clone()));
    (address, stop, server)
}

/// Sends a request and returns the response with its body: as JSON if it is JSON, otherwise as a string.
pub async fn send(router: Router, request: Request<Body>) -> (Response<()>, Value) {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (
        Response::from_parts(parts, ()),
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

pub fn get_request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

pub fn post_request(content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/baskets")
        .header(header::CONTENT_TYPE, content_type)
        .body(body.into())
        .unwrap()
}
