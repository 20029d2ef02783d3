//! Secrets that are replaced while functions run.

use auth::sessions::{RefreshOutcome, RefreshToken, Sessions};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::TimeDelta;
use database::testing;
use domain::{Clock, UserId, ids::uuid_v7};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

use crate::{
    support::{PASSWORD, TestContext, TestFunction},
    test_clock::TestClock,
};

/// A database role of one test, which may do everything, in the format of a secret of RDS.
struct DatabaseRole {
    name: String,
    pool: PgPool,
}

impl DatabaseRole {
    async fn create(pool: &PgPool) -> Self {
        let name = format!("rotation-{}", uuid_v7(Clock::system().now()));
        let role = Self {
            name,
            pool: pool.clone(),
        };
        role.execute(r#"CREATE ROLE "{role}" SUPERUSER LOGIN PASSWORD 'first'"#)
            .await;
        role
    }

    fn secret(&self, password: &str) -> String {
        let options = self.pool.connect_options();
        json!({
            "username": self.name,
            "password": password,
            "engine": "postgres",
            "host": options.get_host(),
            "port": options.get_port(),
            "dbname": options.get_database(),
            "dbInstanceIdentifier": "matsuri",
        })
        .to_string()
    }

    /// Changes the password and closes the connections of the old one.
    async fn change_password(&self) {
        self.execute(r#"ALTER ROLE "{role}" PASSWORD 'second'"#).await;
        self.close_connections().await;
    }

    async fn close_connections(&self) {
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
            .await;
    }

    async fn drop(self) {
        self.close_connections().await;
        self.execute(r#"DROP ROLE "{role}""#).await;
    }

    async fn execute(&self, statement: &str) {
        let statement = statement.replace("{role}", &self.name);
        sqlx::query(AssertSqlSafe(statement))
            .execute(&self.pool)
            .await
            .unwrap();
    }
}

/// Each attempt is for another account, because attempts for one are throttled.
async fn sign_in_status(login: &TestFunction, attempt: u32) -> u64 {
    let body = json!({"email": format!("unknown-{attempt}@example.com"), "password": PASSWORD});
    login.post("/v1/auth/login", &body).await.status
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn changed_database_password_is_read_after_the_old_one_was_refused(pool: PgPool) {
    let mut context = TestContext::new(pool).await;
    // A secret of RDS does not name a CA file. New connections must verify the server with it, too.
    let ca_file = testing::keys_dir().join("database-ca.pem");
    context.set_variable("DATABASE_CA_FILE", ca_file.display().to_string());
    let role = DatabaseRole::create(&context.pool).await;
    context
        .replace_secret(&context.database_secret, &role.secret("first"))
        .await;
    let login = context.function("login").await;
    assert_eq!(sign_in_status(&login, 0).await, 401);

    role.change_password().await;
    context
        .replace_secret(&context.database_secret, &role.secret("second"))
        .await;
    // Without the repeated read, the function would answer 503 for five minutes.
    let mut statuses = Vec::new();
    for attempt in 1..=30 {
        statuses.push(sign_in_status(&login, attempt).await);
        if statuses.last() == Some(&401) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(statuses.last(), Some(&401), "{statuses:?}");
    role.drop().await;
}

async fn refresh(
    context: &TestContext,
    clock: &TestClock,
    max_age: TimeDelta,
    token: &RefreshToken,
) -> Option<RefreshToken> {
    let sessions = Sessions::new(context.sessions_table(), clock.clock());
    let peppers = context.load_peppers(max_age, clock.clock()).await;
    match sessions.refresh(token, &peppers).await.unwrap() {
        RefreshOutcome::Refreshed { successor, .. } => Some(successor),
        _ => None,
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn replaced_pepper_ends_no_session(pool: PgPool) {
    let context = TestContext::new(pool).await;
    let clock = TestClock::default();
    let minutes = TimeDelta::minutes(5);
    let sessions = Sessions::new(context.sessions_table(), clock.clock());
    let first = sessions.create(UserId(uuid_v7(clock.now()))).await.unwrap();
    // Another process that has cached the old pepper.
    let cached = context.load_peppers(minutes, clock.clock()).await;

    let [new, old] = [8, 7].map(|byte| BASE64_STANDARD.encode([byte; 32]));
    context
        .replace_secret(&context.pepper_secret, &format!("{new} {old}"))
        .await;
    let second = refresh(&context, &clock, minutes, &first).await.unwrap();
    // The client repeats the request because it has lost the response, at the other process.
    let repeated = sessions.refresh(&first, &cached).await.unwrap();
    let RefreshOutcome::Refreshed { successor, .. } = repeated else {
        panic!("{repeated:?}")
    };
    assert_eq!(successor, second);

    // The old pepper derived this successor; a process with the new one repeats it.
    let third = {
        context.replace_secret(&context.pepper_secret, &old).await;
        refresh(&context, &clock, minutes, &second).await.unwrap()
    };
    context
        .replace_secret(&context.pepper_secret, &format!("{new} {old}"))
        .await;
    assert_eq!(refresh(&context, &clock, minutes, &second).await, Some(third));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn pepper_is_read_again_when_it_has_reached_the_maximum_age(pool: PgPool) {
    let context = TestContext::new(pool).await;
    let clock = TestClock::default();
    let peppers = context.load_peppers(TimeDelta::minutes(5), clock.clock()).await;
    let before = peppers.current().await;
    let pepper = BASE64_STANDARD.encode([8; 32]);
    context.replace_secret(&context.pepper_secret, &pepper).await;

    let token = RefreshToken::generate(uuid_v7(clock.now()));
    let successor = async || token.successor(peppers.current().await.present());
    assert_eq!(successor().await, token.successor(before.present()));
    clock.advance_seconds(301);
    assert_ne!(successor().await, token.successor(before.present()));

    context
        .replace_secret(&context.pepper_secret, "not a pepper")
        .await;
    let valid = successor().await;
    clock.advance_seconds(301);
    assert_eq!(
        successor().await,
        valid,
        "an invalid secret does not replace a valid one"
    );
}

/// A function that reads a secret needs the right to it, and leaks it when it is compromised.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn functions_read_only_the_secrets_that_they_use(pool: PgPool) {
    let mut context = TestContext::new(pool).await;
    context.set_variable("GOOGLE_CLIENT_ID", "our-id");
    context.set_variable("OAUTH_CALLBACK_BASE_URL", "https://api.test/v1/auth/oauth");
    context.set_variable("GOOGLE_CLIENT_SECRET", "no-such-secret");
    context.function("oauth-start").await;
    context.set_variable("REFRESH_PEPPER_SECRET", "no-such-secret");
    context.function("login").await;
    context.function("logout").await;
    let client_secret = context.create_secret("hunter2").await;
    context.set_variable("GOOGLE_CLIENT_SECRET", client_secret);
    context.function("oauth-callback").await;
}
