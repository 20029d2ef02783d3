//! What people do, from the first mail to the last sign-out, and what others try.

use std::time::{Duration, Instant};

use domain::{Clock, ids::uuid_v7};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;
use uuid::Uuid;

use crate::support::{EMAIL, PASSWORD, TestContext, TestFunction, TestResponse};

async fn sign_in(login: &TestFunction, password: &str) -> TestResponse {
    let body = json!({"email": EMAIL, "password": password});
    login.post("/v1/auth/login", &body).await
}

async fn refresh_with(refresh: &TestFunction, token: &str) -> TestResponse {
    refresh
        .post("/v1/auth/refresh", &json!({"refresh_token": token}))
        .await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_person_registers_signs_in_stays_signed_in_and_leaves(pool: PgPool) {
    let world = TestContext::new(pool).await;
    let link = world.register_user().await;
    let login = world.function("login").await;
    let tokens = sign_in(&login, PASSWORD).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    assert_eq!(tokens.headers["cache-control"], "no-store");
    assert_eq!(
        (&tokens.body["token_type"], &tokens.body["expires_in"]),
        (&json!("Bearer"), &json!(900))
    );
    let claims = world
        .verified_claims(&tokens.string("access_token"))
        .await
        .unwrap();
    assert_eq!(
        (claims.role, claims.email.as_deref()),
        (Role::Customer, Some(EMAIL))
    );
    assert_eq!(claims.exp - claims.iat, 900);
    let verified =
        |answer: &TestResponse| unverified_claims(&answer.string("access_token"))["email_verified"].clone();
    assert_eq!(verified(&tokens), json!(false));

    let verify = world.function("email-verify").await;
    let path = "/v1/auth/email/verify";
    assert_eq!(verify.post(path, &json!({"token": link})).await.status, 204);
    let again = verify.post(path, &json!({"token": link})).await;
    assert_eq!((again.status, again.problem_slug()), (400, "invalid-link"));

    let refresh = world.function("refresh").await;
    let next = refresh_with(&refresh, &tokens.string("refresh_token")).await;
    assert_eq!(next.status, 200, "{next:?}");
    assert_eq!(verified(&next), json!(true));
    assert_eq!(
        world
            .verified_claims(&next.string("access_token"))
            .await
            .unwrap()
            .sub,
        claims.sub
    );

    let logout = world.function("logout").await;
    let body = json!({"refresh_token": next.string("refresh_token")});
    for _ in 0..2 {
        assert_eq!(logout.post("/v1/auth/logout", &body).await.status, 204);
    }
    let ended = refresh_with(&refresh, &next.string("refresh_token")).await;
    assert_eq!((ended.status, ended.problem_slug()), (401, "session-ended"));

    let noted: Vec<String> = world
        .audit_actions()
        .await
        .into_iter()
        .map(|(action, ..)| action)
        .collect();
    assert_eq!(noted, ["registered", "login", "email_verified", "logout"]);
    let noted = world.audit_log_text().await;
    for secret in [EMAIL, PASSWORD, &link, &tokens.string("refresh_token")] {
        assert!(!noted.contains(secret), "{noted}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn whether_an_address_is_new_is_told_to_its_owner_only(pool: PgPool) {
    let world = TestContext::new(pool).await;
    let register = world.function("register").await;
    let body = json!({"email": EMAIL, "password": PASSWORD, "name": "Hanako"});
    let first = register.post("/v1/auth/register", &body).await;
    assert_eq!(world.next_mail().await["mail"], "welcome");
    let other = json!({"email": " HANAKO@example.com", "password": "a guess of mine", "name": "Mallory"});
    let second = register.post("/v1/auth/register", &other).await;
    assert_eq!(
        (first.status, &first.body, &first.headers),
        (second.status, &second.body, &second.headers)
    );
    let mail = world.next_mail().await;
    assert_eq!(
        (&mail["mail"], &mail["to"], &mail["name"]),
        (&json!("duplicate_registration"), &json!(EMAIL), &json!("Hanako"))
    );
    assert!(mail.get("token").is_none());

    let login = world.function("login").await;
    let refused = sign_in(&login, "a guess of mine").await;
    assert_eq!(
        (refused.status, refused.problem_slug()),
        (401, "invalid-credentials")
    );
    let unknown = json!({"email": "nobody@example.com", "password": PASSWORD});
    let unknown = login.post("/v1/auth/login", &unknown).await;
    assert_eq!(
        (refused.status, &refused.body, &refused.headers),
        (unknown.status, &unknown.body, &unknown.headers)
    );

    let forgot = world.function("password-forgot").await;
    let known = forgot
        .post("/v1/auth/password/forgot", &json!({"email": EMAIL}))
        .await;
    assert_eq!(world.next_mail().await["mail"], "reset_password");
    let unknown = json!({"email": "nobody@example.com"});
    let unknown = forgot.post("/v1/auth/password/forgot", &unknown).await;
    assert_eq!(
        (known.status, &known.body, &known.headers),
        (unknown.status, &unknown.body, &unknown.headers)
    );
    assert_eq!(world.next_mail().await["mail"], "nothing");
}

/// Both ways are taken in turns, and the shortest of each counts: what else the machine does only ever adds, and a
/// difference that is there stays however often it is measured.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_address_is_not_given_away_by_time(pool: PgPool) {
    let world = TestContext::new(pool).await;
    world.register_user().await;
    let login = world.function("login").await;
    let time = async |email: &str| {
        let body = json!({"email": email, "password": "wrong horse"});
        let started = Instant::now();
        assert_eq!(login.post("/v1/auth/login", &body).await.status, 401);
        started.elapsed()
    };
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for round in 0..12 {
        // The right password makes the count of wrong ones forgotten; an address of nobody's has another count.
        assert_eq!(sign_in(&login, PASSWORD).await.status, 200);
        for _ in 0..4 {
            known = known.min(time(EMAIL).await);
            unknown = unknown.min(time(&format!("nobody-{round}@example.com")).await);
        }
        if (0.7..1.4).contains(&(known.as_secs_f64() / unknown.as_secs_f64())) {
            return;
        }
    }
    panic!("{known:?} and {unknown:?}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn what_is_wrong_with_a_body_is_said_by_its_place(pool: PgPool) {
    let world = TestContext::new(pool).await;
    let register = world.function("register").await;
    let post = async |body: Value| register.post("/v1/auth/register", &body).await;
    let wrong = post(json!({"email": "no address", "password": PASSWORD, "name": ""})).await;
    assert_eq!((wrong.status, wrong.problem_slug()), (422, "invalid-body"));
    let pointers: Vec<_> = wrong.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/email", "/name"]);

    for (password, name) in [
        ("short", "Hanako"),
        (EMAIL, "Hanako"),
        ("Hanako Matsuri", "Hanako Matsuri"),
    ] {
        let weak = post(json!({"email": EMAIL, "password": password, "name": name})).await;
        assert_eq!(weak.status, 422, "{weak:?}");
        assert_eq!(weak.body["errors"][0]["pointer"], "/password");
    }
    let more = post(json!({"email": EMAIL, "password": PASSWORD, "name": "Hanako", "role": "admin"})).await;
    assert_eq!((more.status, more.problem_slug()), (422, "invalid-body"));
    let list = post(json!([EMAIL, PASSWORD, "Hanako"])).await;
    assert_eq!(
        list.body["errors"][0]["detail"],
        "invalid type: sequence, expected an object"
    );
    let large = post(json!({"email": EMAIL, "password": "a".repeat(20_000), "name": "Hanako"})).await;
    assert_eq!((large.status, large.problem_slug()), (413, "body-too-large"));
    assert!(world.audit_actions().await.is_empty(), "nothing was done");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_stolen_token_ends_the_session_and_its_owner_hears_of_it(pool: PgPool) {
    let world = TestContext::new(pool).await;
    world.register_user().await;
    let login = world.function("login").await;
    let refresh = world.function("refresh").await;
    let first = sign_in(&login, PASSWORD).await.string("refresh_token");
    let second = refresh_with(&refresh, &first).await.string("refresh_token");
    assert_eq!(
        refresh_with(&refresh, &first).await.string("refresh_token"),
        second
    );
    let third = refresh_with(&refresh, &second).await.string("refresh_token");

    let stolen = refresh_with(&refresh, &first).await;
    assert_eq!((stolen.status, stolen.problem_slug()), (401, "session-ended"));
    let mail = world.next_mail().await;
    assert_eq!(
        (&mail["mail"], &mail["to"]),
        (&json!("session_revoked"), &json!(EMAIL))
    );
    assert_eq!(refresh_with(&refresh, &third).await.status, 401);
    assert!(
        world
            .audit_actions()
            .await
            .contains(&("session_revoked".to_owned(), false, true))
    );
    for never in ["", "x", &format!("{}.{}", Uuid::nil(), "A".repeat(43))] {
        assert_eq!(refresh_with(&refresh, never).await.status, 401, "{never}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn leaving_everywhere_ends_every_session(pool: PgPool) {
    let world = TestContext::new(pool).await;
    world.register_user().await;
    let login = world.function("login").await;
    let (here, there) = (sign_in(&login, PASSWORD).await, sign_in(&login, PASSWORD).await);
    let logout = world.function("logout").await;
    let body = json!({"refresh_token": here.string("refresh_token"), "everywhere": true});
    assert_eq!(logout.post("/v1/auth/logout", &body).await.status, 204);
    let refresh = world.function("refresh").await;
    for tokens in [&here, &there] {
        assert_eq!(
            refresh_with(&refresh, &tokens.string("refresh_token"))
                .await
                .status,
            401
        );
    }
    let claims = world
        .verified_claims(&there.string("access_token"))
        .await
        .unwrap();
    let users = users::Users::new(world.pool.clone(), Clock::system());
    let user_id = claims.sub.parse().unwrap();
    let standing = users.account_status(user_id).await.unwrap().unwrap();
    assert!(
        !standing.accepts_token(&claims),
        "the access token is refused as well"
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
async fn a_forgotten_password_is_replaced_once_by_each_link(pool: PgPool) {
    let world = TestContext::new(pool).await;
    world.register_user().await;
    let login = world.function("login").await;
    let before = sign_in(&login, PASSWORD).await;
    let forgot = world.function("password-forgot").await;
    let mut links = Vec::new();
    for _ in 0..2 {
        let asked = forgot
            .post("/v1/auth/password/forgot", &json!({"email": EMAIL}))
            .await;
        assert_eq!(asked.status, 202);
        links.push(world.next_mail().await["token"].as_str().unwrap().to_owned());
    }

    let reset = world.function("password-reset").await;
    let choose = async |link: &str, password: &str| {
        let body = json!({"token": link, "password": password});
        reset.post("/v1/auth/password/reset", &body).await
    };
    assert_eq!(choose(&links[0], "short").await.status, 422);
    assert_eq!(choose(&links[0], "battery staple").await.status, 204);
    assert_eq!(world.next_mail().await["mail"], "password_changed");
    for link in links.iter().map(String::as_str).chain(["", "never a link"]) {
        let used = choose(link, "a third password").await;
        assert_eq!((used.status, used.problem_slug()), (400, "invalid-link"));
    }

    assert_eq!(sign_in(&login, PASSWORD).await.status, 401);
    let after = sign_in(&login, "battery staple").await;
    assert_eq!(
        unverified_claims(&after.string("access_token"))["email_verified"],
        true,
        "the mail was read"
    );
    let refresh = world.function("refresh").await;
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
async fn a_link_to_verify_can_be_asked_for_again(pool: PgPool) {
    let world = TestContext::new(pool).await;
    world.register_user().await;
    let verify = world.function("email-verify").await;
    let post = async |body: Value| verify.post("/v1/auth/email/verify", &body).await;
    let (known, unknown) = (
        post(json!({"email": EMAIL})).await,
        post(json!({"email": "nobody@example.com"})).await,
    );
    assert_eq!((known.status, &known.body), (202, &unknown.body));
    let mut mails = [world.next_mail().await, world.next_mail().await];
    mails.sort_by_key(|mail| mail["mail"].to_string());
    assert_eq!(
        (&mails[0]["mail"], &mails[1]["mail"]),
        (&json!("nothing"), &json!("verify_address"))
    );
    assert_eq!(post(json!({"token": mails[1]["token"]})).await.status, 204);
    assert_eq!(post(json!({"email": EMAIL})).await.status, 202);
    assert_eq!(
        world.next_mail().await["mail"],
        "nothing",
        "there is nothing left to verify"
    );
    assert_eq!(post(json!({})).await.status, 422);
    assert_eq!(post(json!({"email": EMAIL, "token": "x"})).await.status, 422);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_thousand_wrong_passwords_are_not_looked_at_and_the_owner_comes_in(pool: PgPool) {
    let world = TestContext::new(pool).await;
    world.register_user().await;
    let login = world.function("login").await;
    let owner = async || {
        let body = json!({"email": EMAIL, "password": PASSWORD});
        login
            .post_from("198.51.100.1", "/v1/auth/login", &body)
            .await
            .status
    };
    assert_eq!(owner().await, 200);
    let mut looked_at = 0;
    let mut last = None;
    for at in 0..1_000 {
        let body = json!({"email": EMAIL, "password": format!("guess {at}")});
        let answer = login.post("/v1/auth/login", &body).await;
        match answer.status {
            401 => looked_at += 1,
            429 => last = Some(answer),
            other => panic!("{other}"),
        }
    }
    assert!(looked_at <= 7, "{looked_at} were looked at");
    let last = last.unwrap();
    assert_eq!(last.problem_slug(), "too-many-attempts");
    assert!(last.headers["retry-after"].parse::<u32>().unwrap() >= 1);
    assert_eq!(owner().await, 200);
    let refused = ("login_refused".to_owned(), false, true);
    assert!(world.audit_actions().await.contains(&refused));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn other_keys_sign_and_the_old_ones_are_known_still(pool: PgPool) {
    let world = TestContext::new(pool).await;
    let jwks = world.function("jwks").await;
    let configuration = jwks.get("/.well-known/openid-configuration", "").await;
    assert_eq!(configuration.status, 200);
    assert_eq!(configuration.body["issuer"], "https://auth.test");
    assert_eq!(
        configuration.body["jwks_uri"],
        "https://auth.test/.well-known/jwks.json"
    );
    assert_eq!(configuration.headers["cache-control"], "public, max-age=300");
    assert_eq!(jwks.get("/.well-known/else", "").await.status, 404);

    world.replace_signing_keys(&["k1", "k2"]).await;
    let published = world
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
    world.register_user().await;
    let tokens = sign_in(&world.function("login").await, PASSWORD).await;
    assert!(
        world
            .verified_claims(&tokens.string("access_token"))
            .await
            .is_ok()
    );
}

/// The keys as they are published.
async fn published_kids(jwks: &TestFunction) -> Vec<Value> {
    let answer = jwks.get("/.well-known/jwks.json", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let keys = answer.body["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].clone()).collect()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_function_that_runs_takes_over_what_the_secret_holds_now(pool: PgPool) {
    let mut world = TestContext::new(pool).await;
    world.set_variable("SIGNING_KEYS_CACHE_TTL_SECONDS", "1");
    let jwks = world.function("jwks").await;
    assert_eq!(published_kids(&jwks).await, ["k1"]);
    world.replace_signing_keys(&["k1", "k2"]).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(published_kids(&jwks).await, ["k1", "k2"]);
}

/// API Gateway asks who the issuer is when the front door is made, which is before there are keys.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_issuer_is_known_before_it_has_keys(pool: PgPool) {
    let mut world = TestContext::new(pool).await;
    let secret = format!("keys-of-later-{}", uuid_v7(Clock::system().now()));
    world.set_variable("USER_SIGNING_KEYS_SECRET", &secret);
    let jwks = world.function("jwks").await;
    let configuration = jwks.get("/.well-known/openid-configuration", "").await;
    assert_eq!(
        (configuration.status, &configuration.body["issuer"]),
        (200, &json!("https://auth.test"))
    );
    let none = jwks.get("/.well-known/jwks.json", "").await;
    assert_eq!((none.status, none.problem_slug()), (503, "unavailable"));

    world.create_signing_keys(&secret, &["first"]).await;
    assert_eq!(published_kids(&jwks).await, ["first"]);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn logs_hold_neither_addresses_nor_secrets(pool: PgPool) {
    let world = TestContext::new(pool).await;
    world.register_user().await;
    let login = world.function("login").await;
    sign_in(&login, PASSWORD).await;
    sign_in(&login, "wrong horse").await;
    let lines = login.log_lines("").await;
    assert!(lines.contains("answered"), "{lines}");
    for secret in ["hanako", "horse", "refresh_token"] {
        assert!(!lines.contains(secret), "{lines}");
    }
}

/// What a token says, unverified.
fn unverified_claims(token: &str) -> Value {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
