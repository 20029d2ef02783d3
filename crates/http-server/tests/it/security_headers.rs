//! Security headers of every response.

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};
use domain::Clock;

use crate::support::{get_request, send};

#[tokio::test]
async fn every_response_has_security_headers() {
    let routes = Router::new()
        .route("/data", get(async || "here"))
        .route(
            "/public",
            get(async || ([(header::CACHE_CONTROL, "no-cache")], "here")),
        )
        .route(
            "/panic",
            get(async || -> StatusCode { panic!("this test checks the response to a panic") }),
        );
    let router = http_server::with_common_middleware(routes, Clock::system());
    let (long_uri, paths) = (
        format!("/data?{}", "q".repeat(5000)),
        ["/data", "/nothing", "/panic"],
    );
    for path in paths.into_iter().chain([long_uri.as_str()]) {
        let (response, _) = send(router.clone(), get_request(path)).await;
        let headers: Vec<String> = [
            "cache-control",
            "content-security-policy",
            "referrer-policy",
            "strict-transport-security",
            "x-content-type-options",
            "x-frame-options",
        ]
        .map(|name| response.headers()[name].to_str().unwrap().to_owned())
        .into();
        assert_eq!(
            headers,
            [
                "no-store",
                "default-src 'none'; frame-ancestors 'none'",
                "no-referrer",
                "max-age=63072000; includeSubDomains",
                "nosniff",
                "DENY",
            ],
            "{path}"
        );
    }
    let (response, _) = send(router, get_request("/public")).await;
    assert_eq!(
        response.headers()[header::CACHE_CONTROL],
        "no-cache",
        "a header that the handler sets is kept"
    );
}
