//! Requests through CloudFront and past it.

use core_api::rate_limit::RateLimiter;
use http_server::OriginSecrets;
use serde_json::json;
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, TestAppConfig, trusted_proxies},
    test_clock::TestClock,
};

const CURRENT: &str = "current-secret-of-the-distribution";
const NEXT: &str = "next-secret-of-the-distribution-00";

fn origin_secrets() -> OriginSecrets {
    json!([CURRENT, NEXT]).to_string().parse().unwrap()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn requests_past_cloudfront_are_refused_if_it_is_required(pool: PgPool) {
    let config = TestAppConfig {
        required_origin_secrets: Some(origin_secrets()),
        ..TestAppConfig::default()
    };
    let app = TestApp::start_with_config(pool, config).await;
    for secret in [CURRENT, NEXT] {
        let request = app.get("/v1/products").header("x-origin-secret", secret);
        assert_eq!(request.send().await.unwrap().status(), 200, "{secret}");
    }
    let direct = app.get("/v1/products");
    let forged = app.get("/v1/products").header("x-origin-secret", "forged");
    for request in [direct, forged] {
        let response = request.fetch().await;
        assert_eq!(response.status, 403);
        assert_eq!(
            response.body["type"],
            "https://matsuri.dev/problems/direct-access"
        );
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn clients_behind_cloudfront_have_rate_limits_of_their_own(pool: PgPool) {
    let config = TestAppConfig {
        rate_limiter: RateLimiter::new(1, None, TestClock::frozen().clock()).unwrap(),
        trusted_proxies: trusted_proxies(&["127.0.0.1"]).with_cloudfront(Some(origin_secrets())),
        ..TestAppConfig::default()
    };
    let app = TestApp::start_with_config(pool, config).await;
    // The gateway reports an address of CloudFront.
    let rate_limit = async |secret: &str, viewer_address: &str| {
        let request = app
            .get("/v1/products")
            .header("x-forwarded-for", "130.176.0.1")
            .header("x-origin-secret", secret)
            .header("cloudfront-viewer-address", viewer_address);
        let response = request.send().await.unwrap();
        response.headers()["ratelimit"].to_str().unwrap().to_owned()
    };
    let first = rate_limit(CURRENT, "198.51.100.1:1111").await;
    assert_eq!(rate_limit(CURRENT, "[2001:db8::1]:2222").await, first);
    assert_ne!(rate_limit(CURRENT, "198.51.100.1:3333").await, first);
    // Without a valid secret the viewer address does not count, so these two are one client.
    assert_eq!(rate_limit("forged", "198.51.100.2:1").await, first);
    assert_ne!(rate_limit("forged", "198.51.100.3:1").await, first);
}
