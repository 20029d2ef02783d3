//! Rate limits that instances share through Redis, also while it fails.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use core_api::rate_limit::{
    RateLimitKey, RateLimiter,
    gcra::Decision,
    policy::{self, CATALOG},
};
use domain::{Clock, UserId};
use redis_client::testing::RedisServer;
use reqwest::StatusCode;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::{
    rate_limit::request_export,
    support::{TestApp, TestAppConfig, trusted_proxies},
    test_user::TestUser,
};

/// On a busy machine a Redis call may time out; the instance then counts locally for a second. So the tests
/// with Redis repeat the attempt with a new user.
const TIMEOUT: Duration = Duration::from_secs(60);

/// core-api with the production limits, which it counts in Redis.
async fn start_app_with_redis(pool: &PgPool, redis: &RedisServer) -> TestApp {
    let config = TestAppConfig {
        rate_limiter: RateLimiter::new(1, Some(&redis.url()), Clock::system()).unwrap(),
        trusted_proxies: trusted_proxies(&[]),
        ..TestAppConfig::default()
    };
    TestApp::start_with_config(pool.clone(), config).await
}

/// Requests `times` exports from the instances in turn, and returns how many were admitted.
async fn count_admitted_exports(apps: &[&TestApp], user: &TestUser, times: usize) -> usize {
    let mut admitted = 0;
    for time in 0..times {
        match request_export(apps[time % apps.len()], user).await.status() {
            StatusCode::OK => admitted += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    admitted
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn two_instances_share_one_limit(pool: PgPool) {
    let redis = RedisServer::start().await;
    let (one, two) = (
        start_app_with_redis(&pool, &redis).await,
        start_app_with_redis(&pool, &redis).await,
    );
    let end = Instant::now() + TIMEOUT;
    let expected = "200 r=9\n200 r=8\n200 r=7\n200 r=6\n200 r=5\n200 r=4\n200 r=3\n200 r=2\n\
                    200 r=1\n200 r=0\n\
                  429 r=0 retry\n429 r=0 retry\n";
    loop {
        let user = one.customer().await;
        let mut table = String::new();
        for time in 0..12 {
            let app = if time % 2 == 0 { &one } else { &two };
            let response = request_export(app, &user).await;
            let header = response.headers()["ratelimit"].to_str().unwrap();
            let remaining = header.split(';').nth(1).unwrap();
            let retry = response.headers().get("retry-after").map(|after| {
                let seconds: u64 = after.to_str().unwrap().parse().unwrap();
                assert!(
                    (1..=360).contains(&seconds),
                    "one request is regained every 360 s"
                );
            });
            let retry = retry.map_or("", |()| " retry");
            writeln!(table, "{} {remaining}{retry}", response.status().as_u16()).unwrap();
        }
        if table == expected {
            break;
        }
        assert!(Instant::now() < end, "{table}");
    }
}

/// Instances prefetch a large limit in parts. Together they admit at most the limit, and almost all of it.
#[tokio::test]
async fn instances_that_prefetch_together_keep_the_limit() {
    let redis = RedisServer::start().await;
    let instances = [0; 2].map(|_| RateLimiter::new(1, Some(&redis.url()), Clock::system()).unwrap());
    let end = Instant::now() + TIMEOUT;
    loop {
        let (key, started) = (
            RateLimitKey::User(UserId::new(Clock::system().now())),
            Instant::now(),
        );
        let mut admitted = 0;
        for number in 0..10_000 {
            admitted += u64::from(is_admitted(&instances[usize::from(number % 3 == 0)], key).await);
        }
        let regained = 100 * (started.elapsed().as_secs() + 1);
        if (5_800..=6_000 + regained).contains(&admitted) {
            break;
        }
        assert!(
            Instant::now() < end,
            "{admitted} of 10,000 admitted, of which at most {regained} were regained"
        );
    }
}

/// Counts one request to the catalog.
async fn is_admitted(rate_limiter: &RateLimiter, key: RateLimitKey) -> bool {
    let limit = rate_limiter.limit(&CATALOG);
    let decision = match rate_limiter.check(limit, key) {
        Ok(decision) => decision,
        Err(remote_check) => rate_limiter.check_remote(limit, key, remote_check).await,
    };
    matches!(decision, Decision::Allowed { .. })
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn when_redis_is_killed_each_instance_serves_and_counts_locally(pool: PgPool) {
    let redis = RedisServer::start().await;
    let (one, two) = (
        start_app_with_redis(&pool, &redis).await,
        start_app_with_redis(&pool, &redis).await,
    );
    let end = Instant::now() + Duration::from_secs(4);
    let load = async |app: &TestApp| {
        let mut response_count = 0;
        while Instant::now() < end {
            let user = app.customer().await;
            for _ in 0..20 {
                let response = app.get("/v1/me").bearer_auth(user.token()).send().await;
                assert_eq!(response.unwrap().status(), 200, "after {response_count}");
                response_count += 1;
            }
        }
        response_count
    };
    let killed = async {
        sleep(Duration::from_secs(1)).await;
        redis.kill().await
    };
    let (served_by_one, served_by_two, killed) = tokio::join!(load(&one), load(&two), killed);
    assert!(
        served_by_one >= 20 && served_by_two >= 20,
        "{served_by_one}, {served_by_two}"
    );

    let user = one.customer().await;
    assert_eq!(
        count_admitted_exports(&[&one, &two], &user, 30).await,
        20,
        "each instance counts locally"
    );

    // The new server is empty: it has neither the counters nor the Lua script.
    let _redis = killed.start().await;
    await_shared_limit(&one, &two).await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn when_redis_hangs_requests_do_not_wait_for_it(pool: PgPool) {
    let redis = RedisServer::start().await;
    let (one, two) = (
        start_app_with_redis(&pool, &redis).await,
        start_app_with_redis(&pool, &redis).await,
    );
    let rate_limiter = RateLimiter::new(1, Some(&redis.url()), Clock::system()).unwrap();
    let new_user = || RateLimitKey::User(UserId::new(Clock::system().now()));
    assert!(is_admitted(&rate_limiter, new_user()).await);
    redis.pause().await;

    let (started, mut slow) = (Instant::now(), 0);
    for _ in 0..2_000 {
        let call_started = Instant::now();
        assert!(is_admitted(&rate_limiter, new_user()).await);
        slow += u64::from(call_started.elapsed() >= Duration::from_millis(90));
    }
    let probes = started.elapsed().as_secs() + 1;
    assert!(
        slow >= 3,
        "{slow} calls waited for Redis; at least three must open the circuit breaker"
    );
    assert!(
        slow <= 3 + 2 * probes,
        "{slow} of 2,000 waited; expected three until the circuit breaker opens, and one probe per second"
    );
    for _ in 0..10 {
        let user = one.customer().await;
        assert_eq!(request_export(&one, &user).await.status(), 200);
    }
    redis.resume().await;
    await_shared_limit(&one, &two).await;
}

/// Waits until both instances share one limit again, without any intervention.
async fn await_shared_limit(one: &TestApp, two: &TestApp) {
    let end = Instant::now() + TIMEOUT;
    loop {
        let user = one.customer().await;
        if count_admitted_exports(&[one, two], &user, 22).await == 10 {
            return;
        }
        assert!(Instant::now() < end, "the instances still count locally");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Redis stores IP addresses in clear text, so each key must expire with its limit's window.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn redis_keys_expire_with_the_limits_window(pool: PgPool) {
    let redis = RedisServer::start().await;
    let app = start_app_with_redis(&pool, &redis).await;
    let user = app.customer().await;
    let mut connection = redis.connect().await;
    let end = Instant::now() + TIMEOUT;
    for (path, counter, policy) in [
        ("/v1/products", "limit:catalog:127.0.0.1".to_owned(), &CATALOG),
        ("/v1/me", format!("limit:account:{}", user.id()), &policy::ACCOUNT),
    ] {
        let ttl = loop {
            let request = app.get(path).bearer_auth(user.token());
            assert_eq!(request.send().await.unwrap().status(), 200);
            let ttl: i64 = ::redis::cmd("PTTL")
                .arg(&counter)
                .query_async(&mut connection)
                .await
                .unwrap();
            if ttl != -2 {
                break ttl;
            }
            assert!(Instant::now() < end, "{counter} does not exist");
            sleep(Duration::from_millis(500)).await;
        };
        let window = i64::try_from(policy.window.as_millis()).unwrap();
        assert!((0..=window).contains(&ttl), "{counter}: {ttl} ms");
    }
    let keys: Vec<String> = ::redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(keys.iter().all(|key| key.starts_with("limit:")), "{keys:?}");
}
