//! Every error of the framework and of the extractors is a problem document.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use serde_json::{Value, json};

use crate::support::{get_request, post_request, send, test_router};

/// The status and slug of the problem document that a request gets.
async fn problem_of(request: Request<Body>) -> (u16, String) {
    let (response, body) = send(test_router(), request).await;
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
async fn framework_errors_are_problem_documents() {
    let problem = |status: u16, slug: &str| (status, slug.to_owned());
    assert_eq!(
        problem_of(get_request("/nowhere")).await,
        problem(404, "not-found")
    );
    assert_eq!(
        problem_of(get_request("/baskets")).await,
        problem(405, "method-not-allowed")
    );
    assert_eq!(
        problem_of(get_request("/things/many")).await,
        problem(404, "not-found")
    );
    assert_eq!(
        problem_of(get_request("/lists?limit=many")).await,
        problem(400, "invalid-query")
    );
    assert_eq!(
        problem_of(get_request("/lists")).await,
        problem(400, "invalid-query")
    );
    assert_eq!(
        problem_of(get_request("/panic")).await,
        problem(500, "internal-error")
    );
    assert_eq!(
        problem_of(post_request("text/plain", "{}")).await,
        problem(415, "unsupported-media-type")
    );
    assert_eq!(
        problem_of(post_request("application/json", "{")).await,
        problem(400, "malformed-json")
    );
    assert_eq!(
        problem_of(post_request("application/json", "")).await,
        problem(400, "malformed-json")
    );
    assert_eq!(
        problem_of(post_request("application/json", "\u{fffd}")).await,
        problem(400, "malformed-json")
    );
    let two_values = r#"{"items":[]}{"items":[]}"#;
    assert_eq!(
        problem_of(post_request("application/json", two_values)).await,
        problem(400, "malformed-json")
    );
    let deeply_nested = format!(r#"{{"items":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(
        problem_of(post_request("application/json", deeply_nested)).await,
        problem(422, "invalid-body")
    );
    let too_large = format!(r#"{{"items":[{}]}}"#, " ".repeat(70_000));
    assert_eq!(
        problem_of(post_request("application/json", too_large)).await,
        problem(413, "body-too-large")
    );
}

#[tokio::test]
async fn invalid_body_names_the_json_pointer_of_the_error() {
    let pointer = async |body: Value| {
        let (response, problem) =
            send(test_router(), post_request("application/json", body.to_string())).await;
        assert_eq!(response.status(), 422);
        problem["errors"][0]["pointer"].as_str().unwrap().to_owned()
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
async fn accepts_valid_bodies_of_json_media_types() {
    let body = json!({"items": [{"quantity": 1}]}).to_string();
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "application/vnd.shop+json",
    ] {
        let (response, _) = send(test_router(), post_request(content_type, body.clone())).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{content_type}");
    }
}

#[tokio::test]
async fn response_to_a_panic_hides_its_message() {
    let (_, body) = send(test_router(), get_request("/panic")).await;
    assert!(!body.to_string().contains("secret"));
}
