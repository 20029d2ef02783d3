//! What a token opens, and since when it opens nothing any more.

use std::time::{Duration, Instant};

use access_tokens::Role;
use domain::{Clock, UserId};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::{
    app::{Ask, TestApp, customer},
    tokens::Person,
};

/// Longer than an account is believed to stand as it did, on the slowest of machines.
const PATIENCE: Duration = Duration::from_secs(30);

const REFUSED: &str = "401 unauthorized";

async fn ask(app: &TestApp, person: &Person) -> u16 {
    app.get("/v1/orders")
        .bearer_auth(person.token())
        .answer()
        .await
        .status
}

/// Asks until the answer is another, and tells how long that took.
async fn until(app: &TestApp, person: &Person, status: u16) -> Duration {
    let started = Instant::now();
    while ask(app, person).await != status {
        assert!(started.elapsed() < PATIENCE, "never answered with {status}");
        sleep(Duration::from_millis(50)).await;
    }
    started.elapsed()
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn a_token_without_an_account_opens_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let stranger = customer();
    let answer = app.get("/v1/orders").bearer_auth(stranger.token()).answer().await;
    assert_eq!(answer.problem(), REFUSED);
    assert_eq!(
        answer.header("www-authenticate"),
        r#"Bearer error="invalid_token""#
    );
    for sub in ["saga", "", "00000000-0000-0000-0000-000000000000"] {
        let odd = customer().but(|claims| claims.sub = sub.to_owned());
        let answer = app.get("/v1/orders").bearer_auth(odd.token()).answer().await;
        assert_eq!(answer.problem(), REFUSED, "{sub}");
    }
    let stranger = stranger.register(&app.pool).await;
    until(&app, &stranger, 200).await;
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn a_token_from_before_the_password_was_changed_opens_nothing(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let someone = app.customer().await;
    assert_eq!(ask(&app, &someone).await, 200);
    sqlx::query("UPDATE users SET tokens_valid_from = now() + interval '1 millisecond' WHERE id = $1")
        .bind(someone.id().0)
        .execute(&pool)
        .await
        .unwrap();
    until(&app, &someone, 401).await;
    sleep(Duration::from_millis(10)).await;
    let later = customer().but(|claims| claims.sub = someone.id().to_string());
    assert_eq!(ask(&app, &later).await, 200, "a newer one does");

    for jti in ["1", "", "00000000-0000-4000-8000-000000000000"] {
        let odd = later.clone().but(|claims| claims.jti = jti.to_owned());
        assert_eq!(
            ask(&app, &odd).await,
            401,
            "a token that does not tell its time: {jti}"
        );
    }
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn what_a_token_says_of_the_role_is_of_no_account(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let bowl = json!({"name": "Tea bowl", "description": "", "price": 1, "category": "bowls"});
    let create = async |person: &Person| {
        app.post("/v1/products")
            .bearer_auth(person.token())
            .json(&bowl)
            .answer()
            .await
            .status
    };
    let bold = app.customer().await.but(|claims| claims.role = Role::Admin);
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
            assert!(started.elapsed() < PATIENCE, "{name} was never heard of");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn an_account_is_asked_after_once_a_second_at_most(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let someone = app.customer().await;
    let asked = Instant::now();
    assert_eq!(ask(&app, &someone).await, 200);
    sqlx::query("DELETE FROM users WHERE id = $1")
        .bind(someone.id().0)
        .execute(&pool)
        .await
        .unwrap();
    let again = ask(&app, &someone).await;
    if asked.elapsed() < Duration::from_secs(1) {
        assert_eq!(again, 200, "it is believed for a second");
    }
    let took = until(&app, &someone, 401).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Not even a program with a good token of the people's issuer has an account, and none is looked for.
#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn programs_are_known_and_may_do_nothing_here(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let program = Person::customer(UserId::new(Clock::system().now())).but(|claims| {
        claims.role = Role::Service;
        claims.sub = "saga".to_owned();
        claims.jti = "1".to_owned();
    });
    for path in ["/v1/orders", "/v1/me", "/v1/users", "/v1/audit", "/v1/cart"] {
        let answer = app.get(path).bearer_auth(program.token()).answer().await;
        assert_eq!(answer.problem(), "403 forbidden", "{path}");
    }
}
