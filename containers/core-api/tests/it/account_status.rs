//! What a token opens, and since when it opens nothing any more.

use std::time::{Duration, Instant};

use domain::{Clock, UserId};
use serde_json::json;
use sqlx::PgPool;
use tokens::Role;
use tokio::time::sleep;

use crate::{
    authentication::TestUser,
    support::{RequestBuilderExt, TestApp, new_customer},
};

/// Longer than an account is believed to stand as it did, on the slowest of machines.
const TIMEOUT: Duration = Duration::from_secs(30);

const UNAUTHORIZED: &str = "401 unauthorized";

async fn request_status(app: &TestApp, person: &TestUser) -> u16 {
    app.get("/v1/orders")
        .bearer_auth(person.token())
        .fetch()
        .await
        .status
}

/// Asks until the answer is another, and tells how long that took.
async fn await_status(app: &TestApp, person: &TestUser, status: u16) -> Duration {
    let started = Instant::now();
    while request_status(app, person).await != status {
        assert!(started.elapsed() < TIMEOUT, "never answered with {status}");
        sleep(Duration::from_millis(50)).await;
    }
    started.elapsed()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_token_without_an_account_opens_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let stranger = new_customer();
    let answer = app.get("/v1/orders").bearer_auth(stranger.token()).fetch().await;
    assert_eq!(answer.problem(), UNAUTHORIZED);
    assert_eq!(
        answer.header("www-authenticate"),
        r#"Bearer error="invalid_token""#
    );
    for sub in ["saga", "", "00000000-0000-0000-0000-000000000000"] {
        let odd = new_customer().with_claims(|claims| claims.sub = sub.to_owned());
        let answer = app.get("/v1/orders").bearer_auth(odd.token()).fetch().await;
        assert_eq!(answer.problem(), UNAUTHORIZED, "{sub}");
    }
    let stranger = stranger.register(&app.pool).await;
    await_status(&app, &stranger, 200).await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_token_from_before_the_password_was_changed_opens_nothing(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let someone = app.customer().await;
    assert_eq!(request_status(&app, &someone).await, 200);
    sqlx::query("UPDATE users SET tokens_valid_from = now() + interval '1 millisecond' WHERE id = $1")
        .bind(someone.id().0)
        .execute(&pool)
        .await
        .unwrap();
    await_status(&app, &someone, 401).await;
    sleep(Duration::from_millis(10)).await;
    let later = new_customer().with_claims(|claims| claims.sub = someone.id().to_string());
    assert_eq!(request_status(&app, &later).await, 200, "a newer one does");

    for jti in ["1", "", "00000000-0000-4000-8000-000000000000"] {
        let odd = later.clone().with_claims(|claims| claims.jti = jti.to_owned());
        assert_eq!(
            request_status(&app, &odd).await,
            401,
            "a token that does not tell its time: {jti}"
        );
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn what_a_token_says_of_the_role_is_of_no_account(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let bowl = json!({"name": "Tea bowl", "description": "", "price": 1, "category": "bowls"});
    let create = async |person: &TestUser| {
        app.post("/v1/products")
            .bearer_auth(person.token())
            .json(&bowl)
            .fetch()
            .await
            .status
    };
    let bold = app
        .customer()
        .await
        .with_claims(|claims| claims.role = Role::Admin);
    assert_eq!(create(&bold).await, 403);

    // Raised to it, the same token permits it; and no more when it is taken back.
    let role = async |role: &str| {
        sqlx::query("UPDATE users SET role = $2 WHERE id = $1")
            .bind(bold.id().0)
            .bind(role)
            .execute(&pool)
            .await
            .unwrap();
    };
    for (name, expected) in [("admin", 201), ("support", 403)] {
        role(name).await;
        let started = Instant::now();
        while create(&bold).await != expected {
            assert!(started.elapsed() < TIMEOUT, "{name} was never heard of");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_account_is_asked_after_once_a_second_at_most(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let someone = app.customer().await;
    let asked = Instant::now();
    assert_eq!(request_status(&app, &someone).await, 200);
    sqlx::query("DELETE FROM users WHERE id = $1")
        .bind(someone.id().0)
        .execute(&pool)
        .await
        .unwrap();
    let again = request_status(&app, &someone).await;
    if asked.elapsed() < Duration::from_secs(1) {
        assert_eq!(again, 200, "it is believed for a second");
    }
    let took = await_status(&app, &someone, 401).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Not even a program with a good token of the people's issuer has an account, and none is looked for.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn programs_are_known_and_may_do_nothing_here(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let program = TestUser::customer(UserId::new(Clock::system().now())).with_claims(|claims| {
        claims.role = Role::Service;
        claims.sub = "saga".to_owned();
        claims.jti = "1".to_owned();
    });
    for path in ["/v1/orders", "/v1/me", "/v1/users", "/v1/audit", "/v1/cart"] {
        let answer = app.get(path).bearer_auth(program.token()).fetch().await;
        assert_eq!(answer.problem(), "403 forbidden", "{path}");
    }
}
