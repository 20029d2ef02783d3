//! Rate limits of one instance, which counts without Redis.

use std::fmt::Write;

use chrono::TimeDelta;
use core_api::rate_limit::{
    RateLimiter,
    policy::{self, KeyedBy, POLICIES, Policy},
};
use insta::{assert_json_snapshot, assert_snapshot};
use reqwest::{Method, Response};
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, TestAppConfig, trusted_proxies},
    test_clock::TestClock,
    test_user::TestUser,
};

/// core-api with the production limits, which it counts locally, and the clock by which it counts.
async fn start_app(pool: &PgPool, proxies: &[&str]) -> (TestApp, TestClock) {
    let clock = TestClock::frozen();
    let config = TestAppConfig {
        rate_limiter: RateLimiter::new(1, None, clock.clock()).unwrap(),
        trusted_proxies: trusted_proxies(proxies),
        ..TestAppConfig::default()
    };
    (TestApp::start_with_config(pool.clone(), config).await, clock)
}

/// Requests a data export. Its limit of ten per hour leaves no test enough time to regain a request.
pub async fn request_export(app: &TestApp, user: &TestUser) -> Response {
    let request = app.get("/v1/me/export").bearer_auth(user.token());
    request.send().await.unwrap()
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
    let key = match policy.keyed_by {
        KeyedBy::Address => "address",
        KeyedBy::User => "user",
    };
    format!(
        "{} {}/{}s by {key}",
        policy.name,
        policy.requests,
        policy.window.as_secs()
    )
}

/// Every operation of the OpenAPI document has its limits. A new route adds a line here.
#[test]
fn limits_of_every_route() {
    let document = serde_json::to_value(core_api::http::openapi_document()).unwrap();
    let mut table = String::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{} {path}", method.to_uppercase());
            let method: Method = method.to_uppercase().parse().unwrap();
            let limits = policy::route_limits(&method, path).unwrap_or_else(|| panic!("{name} has no limit"));
            assert_eq!(
                limits.per_user.is_none(),
                operation.get("security").is_none(),
                "{name}: a route that accepts a token needs a limit per user"
            );
            assert_eq!(limits.per_address.keyed_by, KeyedBy::Address, "{name}");
            let per_user = limits.per_user.map_or("-".to_owned(), |policy| {
                assert_eq!(policy.keyed_by, KeyedBy::User, "{name}");
                describe_policy(policy)
            });
            writeln!(
                table,
                "{name:<36} {per_user:<32} {}",
                describe_policy(limits.per_address)
            )
            .unwrap();
        }
    }
    assert_snapshot!(table, @r"
    GET /v1/audit                        administration 600/60s by user   unauthenticated 120/60s by address
    GET /v1/cart                         carts 300/60s by user            anonymous-carts 1800/60s by address
    POST /v1/cart/checkout               orders 30/60s by user            unauthenticated 120/60s by address
    DELETE /v1/cart/items/{product_id}   carts 300/60s by user            anonymous-carts 1800/60s by address
    PUT /v1/cart/items/{product_id}      carts 300/60s by user            anonymous-carts 1800/60s by address
    GET /v1/categories                   -                                catalog 6000/60s by address
    DELETE /v1/me                        account 300/60s by user          unauthenticated 120/60s by address
    GET /v1/me                           account 300/60s by user          unauthenticated 120/60s by address
    PATCH /v1/me                         account 300/60s by user          unauthenticated 120/60s by address
    GET /v1/me/addresses                 account 300/60s by user          unauthenticated 120/60s by address
    POST /v1/me/addresses                account 300/60s by user          unauthenticated 120/60s by address
    DELETE /v1/me/addresses/{id}         account 300/60s by user          unauthenticated 120/60s by address
    GET /v1/me/addresses/{id}            account 300/60s by user          unauthenticated 120/60s by address
    PUT /v1/me/addresses/{id}            account 300/60s by user          unauthenticated 120/60s by address
    GET /v1/me/export                    data-export 10/3600s by user     unauthenticated 120/60s by address
    DELETE /v1/me/phone                  account 300/60s by user          unauthenticated 120/60s by address
    PUT /v1/me/phone                     account 300/60s by user          unauthenticated 120/60s by address
    POST /v1/me/phone/verification       account 300/60s by user          unauthenticated 120/60s by address
    GET /v1/orders                       account 300/60s by user          unauthenticated 120/60s by address
    POST /v1/orders                      orders 30/60s by user            unauthenticated 120/60s by address
    GET /v1/orders/{id}                  account 300/60s by user          unauthenticated 120/60s by address
    POST /v1/orders/{id}/cancel          orders 30/60s by user            unauthenticated 120/60s by address
    POST /v1/orders/{id}/payment-action/return orders 30/60s by user            unauthenticated 120/60s by address
    GET /v1/orders/{id}/receipt          account 300/60s by user          unauthenticated 120/60s by address
    GET /v1/products                     -                                catalog 6000/60s by address
    POST /v1/products                    administration 600/60s by user   unauthenticated 120/60s by address
    DELETE /v1/products/{id}             administration 600/60s by user   unauthenticated 120/60s by address
    GET /v1/products/{id}                -                                catalog 6000/60s by address
    PATCH /v1/products/{id}              administration 600/60s by user   unauthenticated 120/60s by address
    POST /v1/realtime/ticket             realtime-tickets 30/60s by user  unauthenticated 120/60s by address
    GET /v1/unsubscribe                  -                                unsubscribe 600/60s by address
    POST /v1/unsubscribe                 -                                unsubscribe 600/60s by address
    GET /v1/users                        administration 600/60s by user   unauthenticated 120/60s by address
    GET /v1/users/{id}                   administration 600/60s by user   unauthenticated 120/60s by address
    DELETE /v1/users/{id}/mail-suppression administration 600/60s by user   unauthenticated 120/60s by address
    GET /v1/users/{id}/mail-suppression  administration 600/60s by user   unauthenticated 120/60s by address
    PUT /v1/users/{id}/role              administration 600/60s by user   unauthenticated 120/60s by address
    ");
}

/// The table in the ADR has each limit with its values.
#[test]
fn documented_limits_match_the_code() {
    let page = include_str!("../../../../docs/adr/0011-rate-limits.md");
    for policy in POLICIES {
        let key = match policy.keyed_by {
            KeyedBy::Address => "address",
            KeyedBy::User => "user",
        };
        let (requests, seconds) = (policy.requests, policy.window.as_secs());
        let line = format!("| `{}` | {requests} | {seconds} s | {key} |", policy.name);
        assert!(page.contains(&line), "{line}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_response_has_rate_limit_headers(pool: PgPool) {
    let (app, _) = start_app(&pool, &[]).await;
    let user = app.customer().await;
    let mut table = String::new();
    for path in [
        "/v1/products",
        "/v1/categories",
        "/v1/cart",
        "/v1/me",
        "/openapi.json",
    ] {
        let response = app.get(path).send().await.unwrap();
        writeln!(
            table,
            "{path}: {} [{}]",
            response.status().as_u16(),
            rate_limit_headers(&response)
        )
        .unwrap();
    }
    for path in ["/v1/cart", "/v1/me", "/v1/orders", "/v1/users"] {
        let response = app.get(path).bearer_auth(user.token()).send().await.unwrap();
        writeln!(
            table,
            "{path}, authenticated: {} [{}]",
            response.status().as_u16(),
            rate_limit_headers(&response)
        )
        .unwrap();
    }
    assert_snapshot!(table, @r#"
    /v1/products: 200 ["catalog";q=6000;w=60 | "catalog";r=5999;t=1]
    /v1/categories: 200 ["catalog";q=6000;w=60 | "catalog";r=5998;t=1]
    /v1/cart: 200 ["anonymous-carts";q=1800;w=60 | "anonymous-carts";r=1799;t=1]
    /v1/me: 401 ["unauthenticated";q=120;w=60 | "unauthenticated";r=119;t=1]
    /openapi.json: 200 []
    /v1/cart, authenticated: 200 ["carts";q=300;w=60 | "carts";r=299;t=1]
    /v1/me, authenticated: 200 ["account";q=300;w=60 | "account";r=299;t=1]
    /v1/orders, authenticated: 200 ["account";q=300;w=60 | "account";r=298;t=1]
    /v1/users, authenticated: 403 ["administration";q=600;w=60 | "administration";r=599;t=1]
    "#);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn exceeding_a_limit_returns_429_and_does_not_affect_other_users(pool: PgPool) {
    let (app, clock) = start_app(&pool, &[]).await;
    let (limited, other) = (app.customer().await, app.customer().await);
    let get_account = |user: &TestUser| app.get("/v1/me").bearer_auth(user.token());
    for number in 0..300 {
        assert_eq!(
            get_account(&limited).send().await.unwrap().status(),
            200,
            "{number}"
        );
    }
    let rejected = get_account(&limited).fetch().await;
    assert_json_snapshot!(rejected, @r#"
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
    assert_eq!(get_account(&other).fetch().await.status, 200);
    let products = app.get("/v1/products").fetch().await;
    assert_eq!(products.status, 200, "a separate limit");
    let cart = app.get("/v1/cart").bearer_auth(limited.token()).fetch().await;
    assert_eq!(cart.status, 200, "a separate limit");

    clock.advance(TimeDelta::seconds(
        rejected.header("retry-after").parse().unwrap(),
    ));
    assert_eq!(get_account(&limited).fetch().await.status, 200);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn flood_from_one_address_affects_neither_other_addresses_nor_users(pool: PgPool) {
    let (app, _) = start_app(&pool, &["127.0.0.0/8"]).await;
    let user = app.customer().await;
    let request_status = async |address: &str, token: &str| {
        let request = app
            .get("/v1/orders")
            // The client can forge the first entry; the proxy appends the second one.
            .header("X-Forwarded-For", format!("198.51.100.9, {address}"))
            .bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    for number in 0..150 {
        let expected = if number < 120 { 401 } else { 429 };
        let status = request_status("203.0.113.7", &format!("forged.{number}")).await;
        assert_eq!(status, expected, "{number}");
    }
    assert_eq!(request_status("203.0.113.8", "forged").await, 401);
    assert_eq!(request_status("2001:db8::1", "forged").await, 401);
    assert_eq!(request_status("203.0.113.7", &user.token()).await, 200);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn forged_forwarded_header_does_not_evade_the_limit(pool: PgPool) {
    // The trusted proxy is another host than the one that sends these requests.
    let (app, _) = start_app(&pool, &["10.0.0.0/8"]).await;
    for number in 0..130 {
        let request = app
            .get("/v1/orders")
            .header("X-Forwarded-For", format!("203.0.113.{number}"));
        let expected = if number < 120 { 401 } else { 429 };
        assert_eq!(request.send().await.unwrap().status(), expected, "{number}");
    }
}
