//! The published signing keys and their rotation.

use std::time::Duration;

use domain::{Clock, ids::uuid_v7};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    auth_flows::sign_in,
    support::{PASSWORD, TestContext, TestFunction},
};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn key_rotation_publishes_old_and_new_keys(pool: PgPool) {
    let context = TestContext::new(pool).await;
    let jwks = context.function("jwks").await;
    let configuration = jwks.get("/.well-known/openid-configuration", "").await;
    assert_eq!(configuration.status, 200);
    assert_eq!(configuration.body["issuer"], "https://auth.test");
    assert_eq!(
        configuration.body["jwks_uri"],
        "https://auth.test/.well-known/jwks.json"
    );
    assert_eq!(configuration.headers["cache-control"], "public, max-age=300");
    assert_eq!(jwks.get("/.well-known/else", "").await.status, 404);

    context.replace_signing_keys(&["k1", "k2"]).await;
    let published = context
        .function("jwks")
        .await
        .get("/.well-known/jwks.json", "")
        .await;
    let kids: Vec<_> = published.body["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].clone())
        .collect();
    assert_eq!(kids, ["k1", "k2"]);
    context.register_user().await;
    let tokens = sign_in(&context.function("login").await, PASSWORD).await;
    assert!(
        context
            .verified_claims(&tokens.string("access_token"))
            .await
            .is_ok()
    );
}

/// The key ids in the JWKS.
async fn published_kids(jwks: &TestFunction) -> Vec<Value> {
    let response = jwks.get("/.well-known/jwks.json", "").await;
    assert_eq!(response.status, 200, "{response:?}");
    let keys = response.body["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].clone()).collect()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn running_function_reloads_the_signing_keys(pool: PgPool) {
    let mut context = TestContext::new(pool).await;
    context.set_variable("SIGNING_KEYS_CACHE_TTL_SECONDS", "1");
    let jwks = context.function("jwks").await;
    assert_eq!(published_kids(&jwks).await, ["k1"]);
    context.replace_signing_keys(&["k1", "k2"]).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(published_kids(&jwks).await, ["k1", "k2"]);
}

/// API Gateway reads the issuer's configuration when it is deployed, which is before the keys are created.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn openid_configuration_is_served_before_keys_exist(pool: PgPool) {
    let mut context = TestContext::new(pool).await;
    let secret = format!("future-keys-{}", uuid_v7(Clock::system().now()));
    context.set_variable("USER_SIGNING_KEYS_SECRET", &secret);
    let jwks = context.function("jwks").await;
    let configuration = jwks.get("/.well-known/openid-configuration", "").await;
    assert_eq!(
        (configuration.status, &configuration.body["issuer"]),
        (200, &json!("https://auth.test"))
    );
    let none = jwks.get("/.well-known/jwks.json", "").await;
    assert_eq!((none.status, none.problem_slug()), (503, "unavailable"));

    context.create_signing_keys(&secret, &["first"]).await;
    assert_eq!(published_kids(&jwks).await, ["first"]);
}
