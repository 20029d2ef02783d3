//! Requests through CloudFront and past it.

use aws_sdk_secretsmanager::Client;
use chrono::TimeDelta;
use core_api::{origin_secrets, rate_limit::RateLimiter};
use domain::ids::uuid_v7;
use http_server::OriginSecrets;
use serde_json::json;
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, TestAppConfig, trusted_proxies},
    test_clock::TestClock,
};

const CURRENT: &str = "current-secret-of-the-distribution";
const NEXT: &str = "next-secret-of-the-distribution-00";

fn both_secrets() -> OriginSecrets {
    json!([CURRENT, NEXT]).to_string().parse().unwrap()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn requests_past_cloudfront_are_refused_if_it_is_required(pool: PgPool) {
    let config = TestAppConfig {
        required_origin_secrets: Some(both_secrets()),
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
        trusted_proxies: trusted_proxies(&["127.0.0.1"]).with_cloudfront(Some(both_secrets())),
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

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn changed_origin_secrets_are_used_without_a_restart(pool: PgPool) {
    let clock = TestClock::running();
    let client = Client::new(&aws_client::sdk_config().await);
    let name = format!("cloudfront-origin-{}", uuid_v7(clock.clock().now()));
    let create = client.create_secret().name(&name);
    let first = json!([CURRENT]).to_string();
    create.secret_string(first).send().await.unwrap();
    let loaded = origin_secrets::load(client.clone(), name.clone(), clock.clock()).await;
    let config = TestAppConfig {
        required_origin_secrets: Some(loaded.unwrap()),
        ..TestAppConfig::default()
    };
    let app = TestApp::start_with_config(pool, config).await;
    let status = async |secret: &str| {
        let request = app.get("/v1/products").header("x-origin-secret", secret);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(CURRENT).await, status(NEXT).await), (200, 403));

    let put = client.put_secret_value().secret_id(&name);
    let second = json!([NEXT]).to_string();
    put.secret_string(second).send().await.unwrap();
    clock.advance(TimeDelta::minutes(6));
    while status(NEXT).await != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(status(CURRENT).await, 403);
}

#[tokio::test]
async fn an_unusable_origin_secret_is_an_error_that_names_it() {
    let clock = TestClock::running().clock();
    let client = Client::new(&aws_client::sdk_config().await);
    let missing = origin_secrets::load(client.clone(), "no-such-secret".into(), clock.clone()).await;
    assert!(missing.unwrap_err().to_string().contains("no-such-secret"));

    let name = format!("cloudfront-origin-{}", uuid_v7(clock.now()));
    let create = client.create_secret().name(&name).secret_string("hunter2");
    create.send().await.unwrap();
    let error = origin_secrets::load(client, name.clone(), clock)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
