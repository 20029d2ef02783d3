//! Requests through CloudFront and past it.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{EMAIL, PASSWORD, TestContext, TestFunction, TestResponse};

const CURRENT: &str = "current-secret-of-the-distribution";
const NEXT: &str = "next-secret-of-the-distribution-00";

/// API Gateway reports an address of CloudFront as the source of a request through it.
const SOURCE_IP: &str = "130.176.0.1";

async fn context(pool: PgPool, mode: &str) -> TestContext {
    let mut context = TestContext::new(pool).await;
    let secret = context.create_secret(&json!([CURRENT, NEXT]).to_string()).await;
    context.set_variable("CLOUDFRONT", mode);
    context.set_variable("CLOUDFRONT_ORIGIN_SECRET", secret);
    context
}

/// Tries to sign in to an account that does not exist.
async fn sign_in(login: &TestFunction, headers: Value) -> TestResponse {
    let body = json!({"email": EMAIL, "password": PASSWORD});
    login
        .post_with_headers(SOURCE_IP, "/v1/auth/login", headers, &body)
        .await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn client_address_is_that_of_the_viewer_if_the_request_proves_its_origin(pool: PgPool) {
    let context = context(pool, "accepted").await;
    let login = context.function("login").await;
    let viewer = |secret: &str, address: &str| json!({"x-origin-secret": secret, "cloudfront-viewer-address": address});
    for (headers, client_ip) in [
        (viewer(CURRENT, "198.51.100.10:46532"), "198.51.100.10"),
        (viewer(NEXT, "2001:db8::1:46532"), "2001:db8::1"),
        (viewer("forged", "198.51.100.11:46532"), SOURCE_IP),
        (
            json!({"cloudfront-viewer-address": "198.51.100.12:46532"}),
            SOURCE_IP,
        ),
        (viewer(CURRENT, "malformed"), SOURCE_IP),
        (json!({"x-origin-secret": CURRENT}), SOURCE_IP),
        (json!({}), SOURCE_IP),
    ] {
        let response = sign_in(&login, headers.clone()).await;
        assert!([401, 429].contains(&response.status), "{headers}: {response:?}");
        assert_eq!(context.last_audit_address().await, client_ip, "{headers}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn requests_past_cloudfront_are_refused_if_it_is_required(pool: PgPool) {
    let context = context(pool, "required").await;
    let login = context.function("login").await;
    for headers in [json!({}), json!({"x-origin-secret": "forged"})] {
        let refused = sign_in(&login, headers.clone()).await;
        assert_eq!(
            (refused.status, refused.problem_slug()),
            (403, "direct-access"),
            "{headers}"
        );
    }
    for secret in [CURRENT, NEXT] {
        let response = sign_in(&login, json!({"x-origin-secret": secret})).await;
        assert_eq!(response.problem_slug(), "invalid-credentials", "{secret}");
    }
    // API Gateway reads the keys directly.
    let jwks = context.function("jwks").await;
    assert_eq!(jwks.get("/.well-known/jwks.json", "").await.status, 200);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn headers_of_cloudfront_are_ignored_without_it(pool: PgPool) {
    let context = TestContext::new(pool).await;
    let login = context.function("login").await;
    let headers = json!({"x-origin-secret": CURRENT, "cloudfront-viewer-address": "198.51.100.10:46532"});
    assert_eq!(sign_in(&login, headers).await.status, 401);
    assert_eq!(context.last_audit_address().await, SOURCE_IP);
}
