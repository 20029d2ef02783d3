//! The account's status decides about a valid token: deleted accounts, revoked tokens, changed roles.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use tokens::Role;
use tokio::time::sleep;

use crate::{
    support::{RequestBuilderExt, TestApp},
    test_user::TestUser,
};

/// Longer than core-api caches an account's status, on any machine.
const TIMEOUT: Duration = Duration::from_secs(30);

const UNAUTHORIZED: &str = "401 unauthorized";

async fn request_status(app: &TestApp, user: &TestUser) -> u16 {
    app.get("/v1/orders")
        .bearer_auth(user.token())
        .fetch()
        .await
        .status
}

/// Repeats a request until it gets `status`, and returns how long that took.
async fn await_status(app: &TestApp, user: &TestUser, status: u16) -> Duration {
    let started = Instant::now();
    while request_status(app, user).await != status {
        assert!(started.elapsed() < TIMEOUT, "never got status {status}");
        sleep(Duration::from_millis(50)).await;
    }
    started.elapsed()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_token_without_account(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = TestUser::customer();
    let response = app.get("/v1/orders").bearer_auth(user.token()).fetch().await;
    assert_eq!(response.problem(), UNAUTHORIZED);
    assert_eq!(
        response.header("www-authenticate"),
        r#"Bearer error="invalid_token""#
    );
    for sub in ["saga", "", "00000000-0000-0000-0000-000000000000"] {
        let user = TestUser::customer().with_claims(|claims| claims.sub = sub.to_owned());
        let response = app.get("/v1/orders").bearer_auth(user.token()).fetch().await;
        assert_eq!(response.problem(), UNAUTHORIZED, "{sub}");
    }
    let user = user.register(&app.pool).await;
    await_status(&app, &user, 200).await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_tokens_from_before_a_password_change(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let user = app.customer().await;
    assert_eq!(request_status(&app, &user).await, 200);
    sqlx::query(
        "UPDATE accounts.users SET tokens_valid_from = now() + interval '1 millisecond' WHERE id = $1",
    )
    .bind(user.id().0)
    .execute(&pool)
    .await
    .unwrap();
    await_status(&app, &user, 401).await;
    sleep(Duration::from_millis(10)).await;
    let newer = TestUser::customer().with_claims(|claims| claims.sub = user.id().to_string());
    assert_eq!(request_status(&app, &newer).await, 200, "a newer token is valid");

    for jti in ["1", "", "00000000-0000-4000-8000-000000000000"] {
        let invalid = newer.clone().with_claims(|claims| claims.jti = jti.to_owned());
        assert_eq!(
            request_status(&app, &invalid).await,
            401,
            "jti without a timestamp: {jti}"
        );
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn role_comes_from_the_account_not_from_the_token(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let bowl = json!({"name": "Tea bowl", "description": "", "price": 1, "category": "bowls"});
    let create_product = async |user: &TestUser| {
        app.post("/v1/products")
            .bearer_auth(user.token())
            .json(&bowl)
            .fetch()
            .await
            .status
    };
    let customer = app
        .customer()
        .await
        .with_claims(|claims| claims.role = Role::Admin);
    assert_eq!(create_product(&customer).await, 403);

    // The same token gains the permission with the role, and loses it again.
    let set_role = async |role: &str| {
        sqlx::query("UPDATE accounts.users SET role = $2 WHERE id = $1")
            .bind(customer.id().0)
            .bind(role)
            .execute(&pool)
            .await
            .unwrap();
    };
    for (name, expected) in [("admin", 201), ("support", 403)] {
        set_role(name).await;
        let started = Instant::now();
        while create_product(&customer).await != expected {
            assert!(
                started.elapsed() < TIMEOUT,
                "the role {name} does not take effect"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn account_status_is_cached_for_one_second(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let user = app.customer().await;
    let started = Instant::now();
    assert_eq!(request_status(&app, &user).await, 200);
    sqlx::query("DELETE FROM accounts.users WHERE id = $1")
        .bind(user.id().0)
        .execute(&pool)
        .await
        .unwrap();
    let again = request_status(&app, &user).await;
    if started.elapsed() < Duration::from_secs(1) {
        assert_eq!(again, 200, "the cached status still applies");
    }
    let took = await_status(&app, &user, 401).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// A service has no account, even with a valid token of the issuer of user tokens, so core-api does not look
/// for one.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn service_role_has_no_permission_in_core_api(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let service = TestUser::customer().with_claims(|claims| {
        claims.role = Role::Service;
        claims.sub = "saga".to_owned();
        claims.jti = "1".to_owned();
    });
    for path in ["/v1/orders", "/v1/me", "/v1/users", "/v1/audit", "/v1/cart"] {
        let response = app.get(path).bearer_auth(service.token()).fetch().await;
        assert_eq!(response.problem(), "403 forbidden", "{path}");
    }
}
