//! What a client sees of the framework's own refusals: always a problem document.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod request_limits;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use domain::Clock;
use http_body_util::BodyExt;
use http_server::{Json, Path, Query, Readiness, ReadinessCheck, TraceContext};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read is of interest")]
struct Basket {
    items: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read is of interest")]
struct Line {
    quantity: u32,
}

#[derive(Deserialize)]
struct Paging {
    limit: u32,
}

#[expect(clippy::panic, reason = "the panic is what is tested")]
fn app() -> Router {
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

async fn send(router: Router, request: Request<Body>) -> (Response<()>, Value) {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (
        Response::from_parts(parts, ()),
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn get_request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post_request(content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/baskets")
        .header(header::CONTENT_TYPE, content_type)
        .body(body.into())
        .unwrap()
}

/// The status and the problem's slug.
async fn problem_of(request: Request<Body>) -> (u16, String) {
    let (response, body) = send(app(), request).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json",
        "{body}"
    );
    assert_eq!(body["status"], response.status().as_u16());
    let slug = body["type"]
        .as_str()
        .unwrap()
        .strip_prefix("https://matsuri.dev/problems/")
        .unwrap();
    (response.status().as_u16(), slug.to_owned())
}

#[tokio::test]
async fn every_refusal_of_the_framework_is_a_problem_document() {
    let is = |status: u16, slug: &str| (status, slug.to_owned());
    assert_eq!(problem_of(get_request("/nowhere")).await, is(404, "not-found"));
    assert_eq!(
        problem_of(get_request("/baskets")).await,
        is(405, "method-not-allowed")
    );
    assert_eq!(
        problem_of(get_request("/things/many")).await,
        is(404, "not-found")
    );
    assert_eq!(
        problem_of(get_request("/lists?limit=many")).await,
        is(400, "invalid-query")
    );
    assert_eq!(problem_of(get_request("/lists")).await, is(400, "invalid-query"));
    assert_eq!(problem_of(get_request("/panic")).await, is(500, "internal-error"));
    assert_eq!(
        problem_of(post_request("text/plain", "{}")).await,
        is(415, "unsupported-media-type")
    );
    assert_eq!(
        problem_of(post_request("application/json", "{")).await,
        is(400, "malformed-json")
    );
    assert_eq!(
        problem_of(post_request("application/json", "")).await,
        is(400, "malformed-json")
    );
    assert_eq!(
        problem_of(post_request("application/json", "\u{fffd}")).await,
        is(400, "malformed-json")
    );
    let twice = r#"{"items":[]}{"items":[]}"#;
    assert_eq!(
        problem_of(post_request("application/json", twice)).await,
        is(400, "malformed-json")
    );
    let deep = format!(r#"{{"items":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(
        problem_of(post_request("application/json", deep)).await,
        is(422, "invalid-body")
    );
    let large = format!(r#"{{"items":[{}]}}"#, " ".repeat(70_000));
    assert_eq!(
        problem_of(post_request("application/json", large)).await,
        is(413, "body-too-large")
    );
}

#[tokio::test]
async fn json_of_the_wrong_shape_is_named_by_its_place() {
    let pointer = async |body: Value| {
        let (response, answer) = send(app(), post_request("application/json", body.to_string())).await;
        assert_eq!(response.status(), 422);
        answer["errors"][0]["pointer"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        pointer(json!({"items": [{"quantity": 1}, {"quantity": "two"}]})).await,
        "/items/1/quantity"
    );
    assert_eq!(
        pointer(json!({"items": [{"quantity": -1}]})).await,
        "/items/0/quantity"
    );
    assert_eq!(
        pointer(json!({"items": [{"quantity": 1, "price": 1}]})).await,
        "/items/0/price"
    );
    assert_eq!(pointer(json!({})).await, "");
}

#[tokio::test]
async fn what_is_right_passes() {
    let body = json!({"items": [{"quantity": 1}]}).to_string();
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "application/vnd.shop+json",
    ] {
        let (response, _) = send(app(), post_request(content_type, body.clone())).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{content_type}");
    }
}

#[tokio::test]
async fn a_panic_is_not_shown() {
    let (_, body) = send(app(), get_request("/panic")).await;
    assert!(!body.to_string().contains("secret"));
}

#[tokio::test]
async fn the_clients_trace_is_continued_and_a_broken_one_replaced() {
    let trace = async |header: &str| {
        let request = Request::get("/trace")
            .header("traceparent", header)
            .body(Body::empty())
            .unwrap();
        send(app(), request).await.1.as_str().unwrap().to_owned()
    };
    let ours = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let continued = trace(ours).await;
    assert_eq!(continued[..36], ours[..36]);
    assert_ne!(continued, ours);
    assert!(trace("nonsense").await.starts_with("00-"));
}

#[tokio::test]
async fn readiness_names_what_is_down() {
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

/// The recorder is the program's, so this is the only test that starts it.
#[tokio::test]
async fn requests_are_counted_by_their_route_and_not_by_their_path() {
    let shown = http_server::metrics_routes().unwrap();
    let routes = Router::new()
        .route(
            "/lanterns/{number}",
            get(async |Path(number): Path<u32>| number.to_string()),
        )
        .merge(shown.clone());
    let app = http_server::with_common_middleware(routes, Clock::system());
    let get = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        let answer = app
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(text.to_vec()).unwrap()
    };
    for path in ["/lanterns/1", "/lanterns/2", "/lanterns/two", "/nowhere"] {
        get("GET", path).await;
    }
    get("BREW", "/lanterns/3").await;

    let page = get("GET", "/metrics").await;
    let count = |labels: &str| {
        let series = format!("http_request_duration_seconds_count{{{labels}}} ");
        page.lines().find_map(|line| line.strip_prefix(&series))
    };
    assert_eq!(
        count(r#"method="GET",route="/lanterns/{number}",status="200""#),
        Some("2"),
        "{page}"
    );
    assert_eq!(
        count(r#"method="GET",route="/lanterns/{number}",status="404""#),
        Some("1")
    );
    assert_eq!(
        count(r#"method="other",route="/lanterns/{number}",status="405""#),
        Some("1")
    );
    assert!(
        !page.contains("/nowhere"),
        "a path that anybody may make up: {page}"
    );
    assert!(
        page.contains(r#"status="200",le="0.001"} "#),
        "durations are in buckets: {page}"
    );
    assert!(http_server::metrics_routes().is_err(), "once");
}
