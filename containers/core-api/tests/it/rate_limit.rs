//! How much anybody may ask for, with one instance and with two, with Redis, without it, and while it fails.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use core_api::rate_limit::{
    RateLimitKey, RateLimiter,
    gcra::Decision,
    policy::{self, CATALOG, KeyedBy, POLICIES, Policy},
};
use domain::{Clock, Timestamp, UserId};
use insta::{assert_json_snapshot, assert_snapshot};
use reqwest::{Method, Response, StatusCode};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::{
    authentication::TestUser,
    redis_server::RedisServer,
    support::{RequestBuilderExt, TestApp, TestAppConfig, trusted_proxies},
};

/// A clock that stands until it is moved.
#[derive(Clone)]
struct TestClock(Arc<Mutex<Timestamp>>);

impl TestClock {
    fn new() -> (Self, Clock) {
        let standing = Self(Arc::new(Mutex::new(Clock::system().now())));
        let seen = standing.0.clone();
        (standing, Clock::from_fn(move || *seen.lock().unwrap()))
    }

    fn advance(&self, seconds: i64) {
        *self.0.lock().unwrap() += TimeDelta::seconds(seconds);
    }
}

/// The program with the limits that people meet, counting by itself and by such a clock.
async fn start_app(pool: &PgPool, proxies: &[&str]) -> (TestApp, TestClock) {
    let (standing, clock) = TestClock::new();
    let setting = TestAppConfig {
        rate_limiter: RateLimiter::new(1, None, clock).unwrap(),
        trusted_proxies: trusted_proxies(proxies),
        ..TestAppConfig::default()
    };
    (TestApp::start_with_config(pool.clone(), setting).await, standing)
}

/// The same, counting in Redis.
async fn start_app_with_redis(pool: &PgPool, redis: &RedisServer) -> TestApp {
    let setting = TestAppConfig {
        rate_limiter: RateLimiter::new(1, Some(&redis.url()), Clock::system()).unwrap(),
        trusted_proxies: trusted_proxies(&[]),
        ..TestAppConfig::default()
    };
    TestApp::start_with_config(pool.clone(), setting).await
}

/// Asks for all that is known of somebody: ten times an hour, so that no test is slow enough for another one.
async fn request_export(app: &TestApp, person: &TestUser) -> Response {
    let request = app.get("/v1/me/export").bearer_auth(person.token());
    request.send().await.unwrap()
}

/// How many of so many exports are let in, each by the next of these instances.
async fn count_admitted_exports(apps: &[&TestApp], person: &TestUser, times: usize) -> usize {
    let mut admitted = 0;
    for time in 0..times {
        match request_export(apps[time % apps.len()], person).await.status() {
            StatusCode::OK => admitted += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    admitted
}

fn rate_limit_headers(response: &Response) -> String {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    [
        header("ratelimit-policy"),
        header("ratelimit"),
        header("retry-after"),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(" | ")
}

fn describe_policy(policy: &Policy) -> String {
    let whose = match policy.keyed_by {
        KeyedBy::Address => "address",
        KeyedBy::User => "person",
    };
    format!(
        "{} {}/{}s by {whose}",
        policy.name,
        policy.requests,
        policy.window.as_secs()
    )
}

/// Every operation of the description has its limits. A new route is a line here.
#[test]
fn which_route_has_which_limit() {
    let document = serde_json::to_value(core_api::http::openapi_document()).unwrap();
    let mut table = String::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{} {path}", method.to_uppercase());
            let method: Method = method.to_uppercase().parse().unwrap();
            let rule = policy::route_limits(&method, path).unwrap_or_else(|| panic!("{name} has no limit"));
            assert_eq!(
                rule.per_user.is_none(),
                operation.get("security").is_none(),
                "{name}: whoever needs a token is counted by it"
            );
            assert_eq!(rule.per_address.keyed_by, KeyedBy::Address, "{name}");
            let person = rule.per_user.map_or("-".to_owned(), |policy| {
                assert_eq!(policy.keyed_by, KeyedBy::User, "{name}");
                describe_policy(policy)
            });
            writeln!(
                table,
                "{name:<39} {person:<34} {}",
                describe_policy(rule.per_address)
            )
            .unwrap();
        }
    }
    assert_snapshot!(table, @r"
    GET /v1/audit                           administration 600/60s by person   strangers 120/60s by address
    GET /v1/cart                            carts 300/60s by person            anonymous-carts 1800/60s by address
    POST /v1/cart/checkout                  orders 30/60s by person            strangers 120/60s by address
    DELETE /v1/cart/items/{product_id}      carts 300/60s by person            anonymous-carts 1800/60s by address
    PUT /v1/cart/items/{product_id}         carts 300/60s by person            anonymous-carts 1800/60s by address
    GET /v1/categories                      -                                  catalogue 6000/60s by address
    DELETE /v1/me                           account 300/60s by person          strangers 120/60s by address
    GET /v1/me                              account 300/60s by person          strangers 120/60s by address
    PATCH /v1/me                            account 300/60s by person          strangers 120/60s by address
    GET /v1/me/addresses                    account 300/60s by person          strangers 120/60s by address
    POST /v1/me/addresses                   account 300/60s by person          strangers 120/60s by address
    DELETE /v1/me/addresses/{id}            account 300/60s by person          strangers 120/60s by address
    GET /v1/me/addresses/{id}               account 300/60s by person          strangers 120/60s by address
    PUT /v1/me/addresses/{id}               account 300/60s by person          strangers 120/60s by address
    GET /v1/me/export                       exports 10/3600s by person         strangers 120/60s by address
    GET /v1/orders                          account 300/60s by person          strangers 120/60s by address
    POST /v1/orders                         orders 30/60s by person            strangers 120/60s by address
    GET /v1/orders/{id}                     account 300/60s by person          strangers 120/60s by address
    POST /v1/orders/{id}/cancel             orders 30/60s by person            strangers 120/60s by address
    GET /v1/products                        -                                  catalogue 6000/60s by address
    POST /v1/products                       administration 600/60s by person   strangers 120/60s by address
    DELETE /v1/products/{id}                administration 600/60s by person   strangers 120/60s by address
    GET /v1/products/{id}                   -                                  catalogue 6000/60s by address
    PATCH /v1/products/{id}                 administration 600/60s by person   strangers 120/60s by address
    GET /v1/users                           administration 600/60s by person   strangers 120/60s by address
    GET /v1/users/{id}                      administration 600/60s by person   strangers 120/60s by address
    PUT /v1/users/{id}/role                 administration 600/60s by person   strangers 120/60s by address
    ");
}

/// The page that explains the limits names each with its numbers.
#[test]
fn the_limits_are_written_down_as_they_are() {
    let page = include_str!("../../../../docs/adr/0011-rate-limits.md");
    for policy in POLICIES {
        let whose = match policy.keyed_by {
            KeyedBy::Address => "address",
            KeyedBy::User => "person",
        };
        let (requests, seconds) = (policy.requests, policy.window.as_secs());
        let line = format!("| `{}` | {requests} | {seconds} s | {whose} |", policy.name);
        assert!(page.contains(&line), "{line}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_answer_tells_what_is_left(pool: PgPool) {
    let (app, _) = start_app(&pool, &[]).await;
    let person = app.customer().await;
    let mut table = String::new();
    for path in [
        "/v1/products",
        "/v1/categories",
        "/v1/cart",
        "/v1/me",
        "/openapi.json",
    ] {
        let answer = app.get(path).send().await.unwrap();
        writeln!(
            table,
            "{path}: {} [{}]",
            answer.status().as_u16(),
            rate_limit_headers(&answer)
        )
        .unwrap();
    }
    for path in ["/v1/cart", "/v1/me", "/v1/orders", "/v1/users"] {
        let answer = app.get(path).bearer_auth(person.token()).send().await.unwrap();
        writeln!(
            table,
            "{path}, signed in: {} [{}]",
            answer.status().as_u16(),
            rate_limit_headers(&answer)
        )
        .unwrap();
    }
    assert_snapshot!(table, @r#"
    /v1/products: 200 ["catalogue";q=6000;w=60 | "catalogue";r=5999;t=1]
    /v1/categories: 200 ["catalogue";q=6000;w=60 | "catalogue";r=5998;t=1]
    /v1/cart: 200 ["anonymous-carts";q=1800;w=60 | "anonymous-carts";r=1799;t=1]
    /v1/me: 401 ["unauthenticated";q=120;w=60 | "unauthenticated";r=119;t=1]
    /openapi.json: 200 []
    /v1/cart, signed in: 200 ["carts";q=300;w=60 | "carts";r=299;t=1]
    /v1/me, signed in: 200 ["account";q=300;w=60 | "account";r=299;t=1]
    /v1/orders, signed in: 200 ["account";q=300;w=60 | "account";r=298;t=1]
    /v1/users, signed in: 403 ["administration";q=600;w=60 | "administration";r=599;t=1]
    "#);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn who_asks_too_often_is_told_when_to_come_back_and_others_notice_nothing(pool: PgPool) {
    let (app, clock) = start_app(&pool, &[]).await;
    let (hasty, other) = (app.customer().await, app.customer().await);
    let read = |person: &TestUser| app.get("/v1/me").bearer_auth(person.token());
    for number in 0..300 {
        assert_eq!(read(&hasty).send().await.unwrap().status(), 200, "{number}");
    }
    let refused = read(&hasty).fetch().await;
    assert_json_snapshot!(refused, @r#"
    {
      "status": 429,
      "headers": {
        "content-type": "application/problem+json",
        "retry-after": "1"
      },
      "body": {
        "detail": "The request was not processed. Try again in 1 s.",
        "status": 429,
        "title": "Rate limit exceeded",
        "type": "https://matsuri.dev/problems/quota-exceeded",
        "violated-policies": [
          "account"
        ]
      }
    }
    "#);
    assert_eq!(read(&other).fetch().await.status, 200);
    let catalogue = app.get("/v1/products").fetch().await;
    assert_eq!(catalogue.status, 200, "another limit");
    let cart = app.get("/v1/cart").bearer_auth(hasty.token()).fetch().await;
    assert_eq!(cart.status, 200, "another limit");

    clock.advance(refused.header("retry-after").parse().unwrap());
    assert_eq!(read(&hasty).fetch().await.status, 200);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_flood_from_one_address_touches_no_other_address_and_nobody_who_is_signed_in(pool: PgPool) {
    let (app, _) = start_app(&pool, &["127.0.0.0/8"]).await;
    let person = app.customer().await;
    let ask = async |address: &str, token: &str| {
        let request = app
            .get("/v1/orders")
            // What stands first, the client made up.
            .header("X-Forwarded-For", format!("198.51.100.9, {address}"))
            .bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    for number in 0..150 {
        let expected = if number < 120 { 401 } else { 429 };
        let status = ask("203.0.113.7", &format!("forged.{number}")).await;
        assert_eq!(status, expected, "{number}");
    }
    assert_eq!(ask("203.0.113.8", "forged").await, 401);
    assert_eq!(ask("2001:db8::1", "forged").await, 401);
    assert_eq!(ask("203.0.113.7", &person.token()).await, 200);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn nobody_gets_around_a_limit_by_a_header(pool: PgPool) {
    // A proxy is trusted, and it is not the one who asks.
    let (app, _) = start_app(&pool, &["10.0.0.0/8"]).await;
    for number in 0..130 {
        let request = app
            .get("/v1/orders")
            .header("X-Forwarded-For", format!("203.0.113.{number}"));
        let expected = if number < 120 { 401 } else { 429 };
        assert_eq!(request.send().await.unwrap().status(), expected, "{number}");
    }
}

/// A busy machine may be late for Redis once; then an instance counts for itself for a second. So the tests with Redis try
/// again, with somebody new.
const TIMEOUT: Duration = Duration::from_secs(60);

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn two_instances_share_one_limit(pool: PgPool) {
    let redis = RedisServer::start().await;
    let (one, two) = (
        start_app_with_redis(&pool, &redis).await,
        start_app_with_redis(&pool, &redis).await,
    );
    let end = Instant::now() + TIMEOUT;
    let shared = "200 r=9\n200 r=8\n200 r=7\n200 r=6\n200 r=5\n200 r=4\n200 r=3\n200 r=2\n200 r=1\n200 r=0\n\
                  429 r=0 retry\n429 r=0 retry\n";
    loop {
        let person = one.customer().await;
        let mut table = String::new();
        for time in 0..12 {
            let app = if time % 2 == 0 { &one } else { &two };
            let answer = request_export(app, &person).await;
            let told = answer.headers()["ratelimit"].to_str().unwrap();
            let left = told.split(';').nth(1).unwrap();
            let retry = answer.headers().get("retry-after").map(|after| {
                let seconds: u64 = after.to_str().unwrap().parse().unwrap();
                assert!((1..=360).contains(&seconds), "one comes again every 360 s");
            });
            let retry = retry.map_or("", |()| " retry");
            writeln!(table, "{} {left}{retry}", answer.status().as_u16()).unwrap();
        }
        if table == shared {
            break;
        }
        assert!(Instant::now() < end, "{table}");
    }
}

/// A large limit is taken in parts. All instances together let no more in than it says, and nearly as many.
#[tokio::test]
async fn a_limit_that_is_shared_in_parts_is_kept() {
    let redis = RedisServer::start().await;
    let instances = [0; 2].map(|_| RateLimiter::new(1, Some(&redis.url()), Clock::system()).unwrap());
    let end = Instant::now() + TIMEOUT;
    loop {
        let (who, started) = (
            RateLimitKey::User(UserId::new(Clock::system().now())),
            Instant::now(),
        );
        let mut admitted = 0;
        for number in 0..10_000 {
            admitted += u64::from(is_admitted(&instances[usize::from(number % 3 == 0)], who).await);
        }
        let given_back = 100 * (started.elapsed().as_secs() + 1);
        if (5_800..=6_000 + given_back).contains(&admitted) {
            break;
        }
        assert!(
            Instant::now() < end,
            "{admitted} of 10,000, {given_back} at most were given back"
        );
    }
}

/// Counts one look at the catalogue.
async fn is_admitted(limits: &RateLimiter, who: RateLimitKey) -> bool {
    let limit = limits.limit(&CATALOG);
    let verdict = match limits.check(limit, who) {
        Ok(verdict) => verdict,
        Err(question) => limits.check_remote(limit, who, question).await,
    };
    matches!(verdict, Decision::Allowed { .. })
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn when_redis_is_killed_under_load_everybody_is_served_and_counted_by_each_instance(pool: PgPool) {
    let redis = RedisServer::start().await;
    let (one, two) = (
        start_app_with_redis(&pool, &redis).await,
        start_app_with_redis(&pool, &redis).await,
    );
    let end = Instant::now() + Duration::from_secs(4);
    let load = async |app: &TestApp| {
        let mut answers = 0;
        while Instant::now() < end {
            let person = app.customer().await;
            for _ in 0..20 {
                let answer = app.get("/v1/me").bearer_auth(person.token()).send().await;
                assert_eq!(answer.unwrap().status(), 200, "after {answers}");
                answers += 1;
            }
        }
        answers
    };
    let killed = async {
        sleep(Duration::from_secs(1)).await;
        redis.kill().await
    };
    let (of_one, of_two, killed) = tokio::join!(load(&one), load(&two), killed);
    assert!(of_one >= 20 && of_two >= 20, "{of_one}, {of_two}");

    let person = one.customer().await;
    assert_eq!(
        count_admitted_exports(&[&one, &two], &person, 30).await,
        20,
        "each counts for itself"
    );

    // It comes back knowing nothing, not even how to count.
    let _redis = killed.start().await;
    await_shared_limit(&one, &two).await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn when_redis_hangs_nobody_waits_for_it(pool: PgPool) {
    let redis = RedisServer::start().await;
    let (one, two) = (
        start_app_with_redis(&pool, &redis).await,
        start_app_with_redis(&pool, &redis).await,
    );
    let alone = RateLimiter::new(1, Some(&redis.url()), Clock::system()).unwrap();
    let somebody = || RateLimitKey::User(UserId::new(Clock::system().now()));
    assert!(is_admitted(&alone, somebody()).await);
    redis.pause().await;

    let (started, mut waited) = (Instant::now(), 0);
    for _ in 0..2_000 {
        let asked = Instant::now();
        assert!(is_admitted(&alone, somebody()).await);
        waited += u64::from(asked.elapsed() >= Duration::from_millis(90));
    }
    let trials = started.elapsed().as_secs() + 1;
    assert!(waited >= 3, "{waited}: it was asked, and did not answer");
    assert!(
        waited <= 3 + 2 * trials,
        "{waited} of 2,000 waited; three have to, and one each second"
    );
    for _ in 0..10 {
        let person = one.customer().await;
        assert_eq!(request_export(&one, &person).await.status(), 200);
    }
    redis.resume().await;
    await_shared_limit(&one, &two).await;
}

/// Without a word from anybody, both instances count together again.
async fn await_shared_limit(one: &TestApp, two: &TestApp) {
    let end = Instant::now() + TIMEOUT;
    loop {
        let person = one.customer().await;
        if count_admitted_exports(&[one, two], &person, 22).await == 10 {
            return;
        }
        assert!(Instant::now() < end, "they still count for themselves");
        sleep(Duration::from_millis(200)).await;
    }
}

/// An address is in Redis in clear text, and gone with its limit's window.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn nothing_in_redis_is_older_than_its_window(pool: PgPool) {
    let redis = RedisServer::start().await;
    let app = start_app_with_redis(&pool, &redis).await;
    let person = app.customer().await;
    let mut connection = redis.connect().await;
    let end = Instant::now() + TIMEOUT;
    for (path, counter, policy) in [
        ("/v1/products", "limit:catalogue:127.0.0.1".to_owned(), &CATALOG),
        (
            "/v1/me",
            format!("limit:account:{}", person.id()),
            &policy::ACCOUNT,
        ),
    ] {
        let lives = loop {
            let request = app.get(path).bearer_auth(person.token());
            assert_eq!(request.send().await.unwrap().status(), 200);
            let lives: i64 = ::redis::cmd("PTTL")
                .arg(&counter)
                .query_async(&mut connection)
                .await
                .unwrap();
            if lives != -2 {
                break lives;
            }
            assert!(Instant::now() < end, "{counter} is not there");
            sleep(Duration::from_millis(500)).await;
        };
        let window = i64::try_from(policy.window.as_millis()).unwrap();
        assert!((0..=window).contains(&lives), "{counter}: {lives} ms");
    }
    let keys: Vec<String> = ::redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(keys.iter().all(|key| key.starts_with("limit:")), "{keys:?}");
}
