//! The flows of users across several functions, and attacks on them.

use std::time::{Duration, Instant};

use domain::Clock;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;
use uuid::Uuid;

use crate::support::{EMAIL, PASSWORD, TestContext, TestFunction, TestResponse};

pub async fn sign_in(login: &TestFunction, password: &str) -> TestResponse {
    let body = json!({"email": EMAIL, "password": password});
    login.post("/v1/auth/login", &body).await
}

async fn refresh_with(refresh: &TestFunction, token: &str) -> TestResponse {
    refresh
        .post("/v1/auth/refresh", &json!({"refresh_token": token}))
        .await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn user_registers_logs_in_verifies_refreshes_and_logs_out(pool: PgPool) {
    let context = TestContext::new(pool).await;
    let link = context.register_user().await;
    let login = context.function("login").await;
    let tokens = sign_in(&login, PASSWORD).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    assert_eq!(tokens.headers["cache-control"], "no-store");
    assert_eq!(
        (&tokens.body["token_type"], &tokens.body["expires_in"]),
        (&json!("Bearer"), &json!(900))
    );
    let claims = context
        .verified_claims(&tokens.string("access_token"))
        .await
        .unwrap();
    assert_eq!(
        (claims.role, claims.email.as_deref()),
        (Role::Customer, Some(EMAIL))
    );
    assert_eq!(claims.exp - claims.iat, 900);
    let email_verified = |response: &TestResponse| {
        unverified_claims(&response.string("access_token"))["email_verified"].clone()
    };
    assert_eq!(email_verified(&tokens), json!(false));

    let verify = context.function("email-verify").await;
    let path = "/v1/auth/email/verify";
    assert_eq!(verify.post(path, &json!({"token": link})).await.status, 204);
    let again = verify.post(path, &json!({"token": link})).await;
    assert_eq!((again.status, again.problem_slug()), (400, "invalid-link"));

    let refresh = context.function("refresh").await;
    let refreshed = refresh_with(&refresh, &tokens.string("refresh_token")).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_eq!(email_verified(&refreshed), json!(true));
    assert_eq!(
        context
            .verified_claims(&refreshed.string("access_token"))
            .await
            .unwrap()
            .sub,
        claims.sub
    );

    let logout = context.function("logout").await;
    let body = json!({"refresh_token": refreshed.string("refresh_token")});
    for _ in 0..2 {
        assert_eq!(logout.post("/v1/auth/logout", &body).await.status, 204);
    }
    let ended = refresh_with(&refresh, &refreshed.string("refresh_token")).await;
    assert_eq!((ended.status, ended.problem_slug()), (401, "session-ended"));

    let actions: Vec<String> = context
        .audit_actions()
        .await
        .into_iter()
        .map(|(action, ..)| action)
        .collect();
    assert_eq!(actions, ["registered", "login", "email_verified", "logout"]);
    let audit_log = context.audit_log_text().await;
    for secret in [EMAIL, PASSWORD, &link, &tokens.string("refresh_token")] {
        assert!(!audit_log.contains(secret), "{audit_log}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn responses_do_not_reveal_whether_an_email_has_an_account(pool: PgPool) {
    let context = TestContext::new(pool).await;
    let register = context.function("register").await;
    let body = json!({"email": EMAIL, "password": PASSWORD, "name": "Hanako"});
    let first = register.post("/v1/auth/register", &body).await;
    assert_eq!(context.next_mail().await["mail"], "welcome");
    let other = json!({"email": " HANAKO@example.com", "password": "a guess of mine", "name": "Mallory"});
    let second = register.post("/v1/auth/register", &other).await;
    assert_eq!(
        (first.status, &first.body, &first.headers),
        (second.status, &second.body, &second.headers)
    );
    let mail = context.next_mail().await;
    assert_eq!(
        (&mail["mail"], &mail["to"], &mail["name"]),
        (&json!("registration_repeated"), &json!(EMAIL), &json!("Hanako"))
    );
    assert!(mail.get("token").is_none());

    let login = context.function("login").await;
    let refused = sign_in(&login, "a guess of mine").await;
    assert_eq!(
        (refused.status, refused.problem_slug()),
        (401, "invalid-credentials")
    );
    let unknown = json!({"email": "unknown@example.com", "password": PASSWORD});
    let unknown = login.post("/v1/auth/login", &unknown).await;
    assert_eq!(
        (refused.status, &refused.body, &refused.headers),
        (unknown.status, &unknown.body, &unknown.headers)
    );

    let forgot = context.function("password-forgot").await;
    let known = forgot
        .post("/v1/auth/password/forgot", &json!({"email": EMAIL}))
        .await;
    assert_eq!(context.next_mail().await["mail"], "reset_password");
    let unknown = json!({"email": "unknown@example.com"});
    let unknown = forgot.post("/v1/auth/password/forgot", &unknown).await;
    assert_eq!(
        (known.status, &known.body, &known.headers),
        (unknown.status, &unknown.body, &unknown.headers)
    );
    assert_eq!(context.next_mail().await["mail"], "nothing");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn concurrent_registrations_with_one_email_create_one_account(pool: PgPool) {
    let context = TestContext::new(pool).await;
    let (one, other) = (
        context.function("register").await,
        context.function("register").await,
    );
    let body = json!({"email": EMAIL, "password": PASSWORD, "name": "Hanako"});
    let (one, other) = tokio::join!(
        one.post("/v1/auth/register", &body),
        other.post("/v1/auth/register", &body),
    );
    assert_eq!((one.status, other.status), (202, 202), "{one:?} {other:?}");
    assert_eq!((&one.body, &one.headers), (&other.body, &other.headers));

    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM accounts.users")
        .fetch_one(&context.pool)
        .await
        .unwrap();
    assert_eq!(accounts, 1);
    let mut mails = [context.next_mail().await, context.next_mail().await];
    mails.sort_by_key(|mail| mail["mail"].to_string());
    assert_eq!(
        (&mails[0]["mail"], &mails[1]["mail"]),
        (&json!("registration_repeated"), &json!("welcome"))
    );
}

/// The measurements alternate and only the shortest ones count: other load on the machine only adds time, and
/// a real difference remains in the minimum.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn response_time_does_not_reveal_whether_an_email_has_an_account(pool: PgPool) {
    let context = TestContext::new(pool).await;
    context.register_user().await;
    let login = context.function("login").await;
    let time = async |email: &str| {
        let body = json!({"email": email, "password": "wrong horse"});
        let started = Instant::now();
        assert_eq!(login.post("/v1/auth/login", &body).await.status, 401);
        started.elapsed()
    };
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for round in 0..12 {
        // The right password resets the failure counter. Each unknown address has a counter of its own.
        assert_eq!(sign_in(&login, PASSWORD).await.status, 200);
        for _ in 0..4 {
            known = known.min(time(EMAIL).await);
            unknown = unknown.min(time(&format!("unknown-{round}@example.com")).await);
        }
        if (0.7..1.4).contains(&(known.as_secs_f64() / unknown.as_secs_f64())) {
            return;
        }
    }
    panic!("{known:?} and {unknown:?}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn invalid_bodies_are_rejected_with_the_location_of_the_error(pool: PgPool) {
    let context = TestContext::new(pool).await;
    let register = context.function("register").await;
    let post = async |body: Value| register.post("/v1/auth/register", &body).await;
    let invalid = post(json!({"email": "no address", "password": PASSWORD, "name": ""})).await;
    assert_eq!((invalid.status, invalid.problem_slug()), (422, "invalid-body"));
    let pointers: Vec<_> = invalid.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/email", "/name"]);

    for (password, name) in [
        ("short", "Hanako"),
        ("12345678", "Hanako"),
        ("password", "Hanako"),
        ("qwertyuiop", "Hanako"),
        ("hanako123", "Hanako"),
        (EMAIL, "Hanako"),
        ("Hanako Matsuri", "Hanako Matsuri"),
    ] {
        let weak = post(json!({"email": EMAIL, "password": password, "name": name})).await;
        assert_eq!(weak.status, 422, "{weak:?}");
        assert_eq!(weak.body["errors"][0]["pointer"], "/password");
    }
    let unknown_member =
        post(json!({"email": EMAIL, "password": PASSWORD, "name": "Hanako", "role": "admin"})).await;
    assert_eq!(
        (unknown_member.status, unknown_member.problem_slug()),
        (422, "invalid-body")
    );
    let list = post(json!([EMAIL, PASSWORD, "Hanako"])).await;
    assert_eq!(
        list.body["errors"][0]["detail"],
        "invalid type: sequence, expected an object"
    );
    let too_large = post(json!({"email": EMAIL, "password": "a".repeat(70_000), "name": "Hanako"})).await;
    assert_eq!(
        (too_large.status, too_large.problem_slug()),
        (413, "body-too-large")
    );
    assert!(context.audit_actions().await.is_empty(), "no account was created");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn token_reuse_ends_the_session_and_notifies_the_owner(pool: PgPool) {
    let context = TestContext::new(pool).await;
    context.register_user().await;
    let login = context.function("login").await;
    let refresh = context.function("refresh").await;
    let first = sign_in(&login, PASSWORD).await.string("refresh_token");
    let second = refresh_with(&refresh, &first).await.string("refresh_token");
    assert_eq!(
        refresh_with(&refresh, &first).await.string("refresh_token"),
        second
    );
    let third = refresh_with(&refresh, &second).await.string("refresh_token");

    let stolen = refresh_with(&refresh, &first).await;
    assert_eq!((stolen.status, stolen.problem_slug()), (401, "session-ended"));
    let mail = context.next_mail().await;
    assert_eq!(
        (&mail["mail"], &mail["to"]),
        (&json!("session_revoked"), &json!(EMAIL))
    );
    assert_eq!(refresh_with(&refresh, &third).await.status, 401);
    assert!(
        context
            .audit_actions()
            .await
            .contains(&("session_revoked".to_owned(), false, true))
    );
    for invalid in ["", "x", &format!("{}.{}", Uuid::nil(), "A".repeat(43))] {
        assert_eq!(refresh_with(&refresh, invalid).await.status, 401, "{invalid}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn logout_everywhere_ends_all_sessions(pool: PgPool) {
    let context = TestContext::new(pool).await;
    context.register_user().await;
    let login = context.function("login").await;
    let (here, there) = (sign_in(&login, PASSWORD).await, sign_in(&login, PASSWORD).await);
    let logout = context.function("logout").await;
    let body = json!({"refresh_token": here.string("refresh_token"), "everywhere": true});
    assert_eq!(logout.post("/v1/auth/logout", &body).await.status, 204);
    let refresh = context.function("refresh").await;
    for tokens in [&here, &there] {
        assert_eq!(
            refresh_with(&refresh, &tokens.string("refresh_token"))
                .await
                .status,
            401
        );
    }
    let claims = context
        .verified_claims(&there.string("access_token"))
        .await
        .unwrap();
    let users = users::Users::new(context.pool.clone(), Clock::system());
    let user_id = claims.sub.parse().unwrap();
    let status = users.account_status(user_id).await.unwrap().unwrap();
    assert!(
        !status.accepts_token(&claims),
        "the account rejects the access token as well"
    );

    let again = sign_in(&login, PASSWORD).await;
    assert_eq!(
        refresh_with(&refresh, &again.string("refresh_token"))
            .await
            .status,
        200
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn password_reset_link_works_once_and_ends_all_sessions(pool: PgPool) {
    let context = TestContext::new(pool).await;
    context.register_user().await;
    let login = context.function("login").await;
    let before = sign_in(&login, PASSWORD).await;
    let forgot = context.function("password-forgot").await;
    let mut links = Vec::new();
    for _ in 0..2 {
        let response = forgot
            .post("/v1/auth/password/forgot", &json!({"email": EMAIL}))
            .await;
        assert_eq!(response.status, 202);
        links.push(context.next_mail().await["token"].as_str().unwrap().to_owned());
    }

    let reset = context.function("password-reset").await;
    let reset_with = async |link: &str, password: &str| {
        let body = json!({"token": link, "password": password});
        reset.post("/v1/auth/password/reset", &body).await
    };
    assert_eq!(reset_with(&links[0], "short").await.status, 422);
    for weak in ["12345678", "password", "qwertyuiop", "Hanako2024", EMAIL] {
        let response = reset_with(&links[0], weak).await;
        assert_eq!((response.status, response.problem_slug()), (422, "invalid-body"));
        assert_eq!(response.body["errors"][0]["pointer"], "/password", "{weak}");
    }
    assert_eq!(reset_with(&links[0], "battery staple").await.status, 204);
    assert_eq!(context.next_mail().await["mail"], "password_changed");
    for link in links.iter().map(String::as_str).chain(["", "never a link"]) {
        let used = reset_with(link, "a third password").await;
        assert_eq!((used.status, used.problem_slug()), (400, "invalid-link"));
    }

    assert_eq!(sign_in(&login, PASSWORD).await.status, 401);
    let after = sign_in(&login, "battery staple").await;
    assert_eq!(
        unverified_claims(&after.string("access_token"))["email_verified"],
        true,
        "the reset link verifies the address"
    );
    let refresh = context.function("refresh").await;
    assert_eq!(
        refresh_with(&refresh, &before.string("refresh_token"))
            .await
            .status,
        401
    );
    assert_eq!(
        refresh_with(&refresh, &after.string("refresh_token"))
            .await
            .status,
        200
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn verification_link_can_be_requested_again(pool: PgPool) {
    let context = TestContext::new(pool).await;
    context.register_user().await;
    let verify = context.function("email-verify").await;
    let post = async |body: Value| verify.post("/v1/auth/email/verify", &body).await;
    let (known, unknown) = (
        post(json!({"email": EMAIL})).await,
        post(json!({"email": "unknown@example.com"})).await,
    );
    assert_eq!((known.status, &known.body), (202, &unknown.body));
    let mut mails = [context.next_mail().await, context.next_mail().await];
    mails.sort_by_key(|mail| mail["mail"].to_string());
    assert_eq!(
        (&mails[0]["mail"], &mails[1]["mail"]),
        (&json!("nothing"), &json!("verify_address"))
    );
    assert_eq!(post(json!({"token": mails[1]["token"]})).await.status, 204);
    assert_eq!(post(json!({"email": EMAIL})).await.status, 202);
    assert_eq!(
        context.next_mail().await["mail"],
        "nothing",
        "the address is verified already"
    );
    assert_eq!(post(json!({})).await.status, 422);
    assert_eq!(post(json!({"email": EMAIL, "token": "x"})).await.status, 422);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn login_throttle_stops_1000_guesses_and_lets_the_owner_in(pool: PgPool) {
    let context = TestContext::new(pool).await;
    context.register_user().await;
    let login = context.function("login").await;
    let owner = async || {
        let body = json!({"email": EMAIL, "password": PASSWORD});
        login
            .post_from("198.51.100.1", "/v1/auth/login", &body)
            .await
            .status
    };
    assert_eq!(owner().await, 200);
    let mut verified = 0;
    let mut last_blocked = None;
    for index in 0..1_000 {
        let body = json!({"email": EMAIL, "password": format!("guess {index}")});
        let response = login.post("/v1/auth/login", &body).await;
        match response.status {
            401 => verified += 1,
            429 => last_blocked = Some(response),
            other => panic!("{other}"),
        }
    }
    assert!(verified <= 7, "{verified} guesses were verified");
    let blocked = last_blocked.unwrap();
    assert_eq!(blocked.problem_slug(), "too-many-attempts");
    assert!(blocked.headers["retry-after"].parse::<u32>().unwrap() >= 1);
    assert_eq!(owner().await, 200);
    let refused = ("login_refused".to_owned(), false, true);
    assert!(context.audit_actions().await.contains(&refused));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn logs_contain_no_email_addresses_and_no_secrets(pool: PgPool) {
    let context = TestContext::new(pool).await;
    context.register_user().await;
    let login = context.function("login").await;
    sign_in(&login, PASSWORD).await;
    sign_in(&login, "wrong horse").await;
    let lines = login.log_lines("").await;
    assert!(lines.contains("request completed"), "{lines}");
    for secret in ["hanako", "horse", "refresh_token"] {
        assert!(!lines.contains(secret), "{lines}");
    }
}

/// The claims of a token, without verification.
fn unverified_claims(token: &str) -> Value {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
