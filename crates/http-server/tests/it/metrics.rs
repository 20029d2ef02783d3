//! `GET /metrics`.

use axum::{Router, body::Body, http::Request, routing::get};
use domain::Clock;
use http_body_util::BodyExt;
use http_server::Path;
use tower::ServiceExt;

/// The recorder belongs to the process, so this is the only test that installs it.
#[tokio::test]
async fn counts_requests_by_route_pattern() {
    let metrics_routes = http_server::metrics_routes().unwrap();
    let routes = Router::new()
        .route(
            "/lanterns/{number}",
            get(async |Path(number): Path<u32>| number.to_string()),
        )
        .merge(metrics_routes);
    let router = http_server::with_common_middleware(routes, Clock::system());
    let fetch = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        let response = router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(text.to_vec()).unwrap()
    };
    for path in ["/lanterns/1", "/lanterns/2", "/lanterns/two", "/nowhere"] {
        fetch("GET", path).await;
    }
    fetch("BREW", "/lanterns/3").await;

    let page = fetch("GET", "/metrics").await;
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
        "an unmatched path must not become a label: {page}"
    );
    assert!(
        page.contains(r#"status="200",le="0.001"} "#),
        "durations are in buckets: {page}"
    );
    assert!(
        http_server::metrics_routes().is_err(),
        "the recorder can be installed only once"
    );
}
