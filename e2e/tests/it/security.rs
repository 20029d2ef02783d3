//! Attacks and their rejection by the API gateway, and by core-api where the gateway would reject them first.
//! Attacks on the OAuth sign-in are in `oauth_sign_in`, reused refresh tokens and tokens from before a
//! password reset in `authentication`, and forged access tokens in `token_forgery`.

use std::time::Instant;

use domain::{OrderId, ids::uuid_v7};
use futures::{StreamExt as _, stream};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use e2e::system::{ApiCaller, ApiResponse, TestSystem, TestUser, eventually, send};

/// The password of users that these tests register.
const PASSWORD: &str = "correct horse paper lantern";

/// Asserts the status, and returns the problem's slug. The local gateway drops the content type of problem
/// documents, so [`ApiResponse::expect_problem`] does not apply.
#[track_caller]
fn assert_problem(response: &ApiResponse, status: u16) -> &str {
    assert_eq!(response.status.as_u16(), status, "{response:?}");
    let kind = response.body["type"]
        .as_str()
        .unwrap_or_else(|| panic!("{response:?}"));
    kind.rsplit('/').next().unwrap()
}

/// The same request to the API gateway and directly to core-api.
fn requests_to_gateway_and_core_api<'a>(
    system: &'a TestSystem,
    method: &'a Method,
    path: &'a str,
) -> impl Iterator<Item = RequestBuilder> + use<'a> {
    [
        system.gateway_request(method.clone(), path),
        system.core_api_request(method.clone(), path),
    ]
    .into_iter()
}

async fn audit_entries(system: &TestSystem, query: &str) -> Vec<Value> {
    let admin = system.admin().await;
    let log = system
        .get_gateway(&format!("/v1/audit?limit=100&{query}"), &admin.token)
        .await
        .expect_status(200);
    log["items"].as_array().unwrap().clone()
}

/// The response for another user's resource equals the response for a resource that does not exist.
#[tokio::test]
async fn other_users_resources_are_not_found() {
    let system = TestSystem::shared();
    let (hanako, mallory) = (system.customer().await, system.customer().await);
    let lantern = system.create_product(100, 10).await;
    let order = system.place_order(&hanako, &lantern, 1, "pm_card_visa").await;
    let address = json!({
        "recipient": "山田花子", "country": "JP", "postal_code": "150-0001", "region": "東京都",
        "city": "渋谷区", "line1": "神宮前1-2-3",
    });
    let request = system
        .gateway_request(Method::POST, "/v1/me/addresses")
        .bearer_auth(&hanako.token);
    let hanakos = send(request.json(&address)).await.expect_status(201);
    let hanakos = hanakos["id"].as_str().unwrap();
    let nonexistent = uuid_v7(system.now()).to_string();

    let request_as = async |caller: &ApiCaller, method: &Method, path: &str| {
        let request = system
            .gateway_request(method.clone(), path)
            .bearer_auth(&caller.token);
        send(if method == Method::PUT {
            request.json(&address)
        } else {
            request
        })
        .await
    };
    let order = order.to_string();
    for (method, path, hanakos) in [
        (Method::GET, "/v1/orders/{}", order.as_str()),
        (Method::POST, "/v1/orders/{}/cancel", &order),
        (Method::GET, "/v1/me/addresses/{}", hanakos),
        (Method::PUT, "/v1/me/addresses/{}", hanakos),
        (Method::DELETE, "/v1/me/addresses/{}", hanakos),
    ] {
        let for_other_user = request_as(&mallory, &method, &path.replace("{}", hanakos)).await;
        let for_nonexistent = request_as(&mallory, &method, &path.replace("{}", &nonexistent)).await;
        assert_eq!(
            assert_problem(&for_other_user, 404),
            "not-found",
            "{method} {path}"
        );
        assert_eq!(for_other_user.body, for_nonexistent.body, "{method} {path}");
    }
    for path in ["/v1/orders", "/v1/me/addresses"] {
        let list = request_as(&mallory, &Method::GET, path).await.expect_status(200);
        assert_eq!(list["items"], json!([]), "{path}");
    }
    let export = request_as(&mallory, &Method::GET, "/v1/me/export")
        .await
        .expect_status(200);
    assert!(!export.to_string().contains(&order), "{export}");
    for path in [
        format!("/v1/users/{}", hanako.id),
        format!("/v1/users/{nonexistent}"),
        "/v1/users".to_owned(),
        format!("/v1/audit?subject={}", hanako.id),
    ] {
        assert_eq!(
            assert_problem(&request_as(&mallory, &Method::GET, &path).await, 403),
            "forbidden",
            "{path}"
        );
    }
    // None of the requests had an effect.
    request_as(&hanako, &Method::GET, &format!("/v1/me/addresses/{hanakos}"))
        .await
        .expect_status(200);
    let order: OrderId = order.parse().unwrap();
    assert_eq!(
        system.wait_for_final_status(&hanako, order).await["status"],
        "completed"
    );
}

/// Another customer's request with the same key and body creates a separate order.
#[tokio::test]
async fn idempotency_keys_are_scoped_to_the_customer() {
    let system = TestSystem::shared();
    let (hanako, mallory) = (system.customer().await, system.customer().await);
    let lantern = system.create_product(100, 10).await;
    let body = json!({
        "items": [{"product_id": lantern, "quantity": 1}], "payment_method": "pm_card_visa",
    });
    let hanakos = system
        .post_order(&hanako, "the same", &body)
        .await
        .expect_status(202);
    let mallorys = system
        .post_order(&mallory, "the same", &body)
        .await
        .expect_status(202);
    assert_ne!(hanakos["order_id"], mallorys["order_id"]);
}

#[tokio::test]
async fn users_cannot_change_their_own_role() {
    let system = TestSystem::shared();
    let email = format!("{}@example.com", uuid_v7(system.now()));
    let with = |more: Value| {
        let mut body = json!({"email": email, "password": PASSWORD, "name": "Mallory"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    for more in [
        json!({"role": "admin"}),
        json!({"email_verified": true}),
        json!({"id": uuid_v7(system.now())}),
        json!({"tokens_valid_from": "2000-01-01T00:00:00Z"}),
    ] {
        let response = system
            .post_gateway("/v1/auth/register", &with(more.clone()))
            .await;
        assert_eq!(response.expect_problem(422), "invalid-body", "{more}");
    }
    system
        .post_gateway("/v1/auth/register", &with(json!({})))
        .await
        .expect_status(202);
    let user = TestUser {
        email,
        password: PASSWORD.to_owned(),
    };
    let token = system.sign_in(&user).await.access_token;
    let me = system.get_gateway("/v1/me", &token).await.expect_status(200);
    let id = me["id"].as_str().unwrap().to_owned();

    for change in [
        json!({"role": "admin"}),
        json!({"email_verified": true}),
        json!({"id": id}),
    ] {
        for request in requests_to_gateway_and_core_api(&system, &Method::PATCH, "/v1/me") {
            let request = request.bearer_auth(&token).header("if-match", "*");
            let response = send(request.json(&change)).await;
            assert!(response.status.is_client_error(), "{change}: {response:?}");
        }
    }
    for request in requests_to_gateway_and_core_api(&system, &Method::PUT, &format!("/v1/users/{id}/role")) {
        let response = send(request.bearer_auth(&token).json(&json!({"role": "admin"}))).await;
        assert_eq!(assert_problem(&response, 403), "forbidden");
    }
    let me = system.get_gateway("/v1/me", &token).await.expect_status(200);
    assert_eq!(me["role"], "customer");
}

/// An attacker who plants a cart token or a session in a victim's browser gains no access after the victim's
/// sign-in.
#[tokio::test]
async fn sign_in_prevents_cart_and_session_fixation() {
    let system = TestSystem::shared();
    let (lantern, drum) = (
        system.create_product(700, 10).await,
        system.create_product(4000, 5).await,
    );
    let put = |product: &str| {
        system
            .gateway_request(Method::PUT, &format!("/v1/cart/items/{product}"))
            .json(&json!({"quantity": 1}))
    };
    let planted = send(put(&lantern)).await.expect_status(200);
    let planted = planted["cart_token"].as_str().unwrap();

    let hanako = system.register_user().await;
    let session = system.sign_in(&hanako).await;
    let merged = system
        .gateway_request(Method::GET, "/v1/cart")
        .bearer_auth(&session.access_token)
        .header("cart-token", planted);
    send(merged).await.expect_status(200);
    send(put(&drum).bearer_auth(&session.access_token))
        .await
        .expect_status(200);
    let by_token = system
        .gateway_request(Method::GET, "/v1/cart")
        .header("cart-token", planted);
    assert_eq!(send(by_token).await.expect_status(200)["items"], json!([]));

    // A sign-in always creates a new session.
    let body = json!({
        "email": hanako.email, "password": hanako.password, "refresh_token": session.refresh_token,
    });
    assert_eq!(
        system
            .post_gateway("/v1/auth/login", &body)
            .await
            .expect_problem(422),
        "invalid-body"
    );
    let again = system.sign_in(&hanako).await;
    let family = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(family(&again.refresh_token), family(&session.refresh_token));
}

#[tokio::test]
async fn login_throttle_allows_five_of_a_thousand_guesses() {
    let system = TestSystem::shared();
    let (hanako, other_user) = (system.register_user().await, system.register_user().await);
    let guess = async |n: u32| {
        let response = system.try_sign_in(&hanako.email, &format!("guess {n}")).await;
        if response.status == 429 {
            let wait: u64 = response.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=900).contains(&wait), "{response:?}");
            assert_eq!(
                response.body["type"],
                "https://matsuri.dev/problems/too-many-attempts"
            );
        }
        response.status.as_u16()
    };
    let started = Instant::now();
    let statuses: Vec<u16> = stream::iter(0..1000)
        .map(guess)
        .buffer_unordered(8)
        .collect()
        .await;
    let attempted = statuses.iter().filter(|&&status| status == 401).count();
    let throttled = statuses.iter().filter(|&&status| status == 429).count();
    assert_eq!(attempted + throttled, 1000, "{statuses:?}");
    // Five attempts, and one more after each wait that has ended: 15 s, 30 s, 60 s, …
    let waits = (1..).take_while(|n| 15 * ((1 << n) - 1) <= started.elapsed().as_secs());
    assert!(attempted <= 5 + waits.count(), "{attempted} guesses were checked");

    // The throttle does not affect another user with the same IP address.
    system.sign_in(&other_user).await;
    // The user can sign in after the wait.
    eventually("the login throttle to allow the sign-in", async || {
        let response = system.try_sign_in(&hanako.email, &hanako.password).await;
        (response.status == 200).then_some(())
    })
    .await;
    let log = audit_entries(&system, "action=login_refused").await;
    assert!(
        log.iter()
            .any(|entry| entry["details"]["reason"] == "too_many_attempts"),
        "{log:?}"
    );
}

#[tokio::test]
async fn input_cannot_inject_headers_markup_or_log_lines() {
    let system = TestSystem::shared();
    let id = uuid_v7(system.now());
    for (field, value) in [
        ("email", format!("{id}@example.com\r\nBcc: all@example.com")),
        ("email", format!("{id}@example.com, all@example.com")),
        ("email", format!("<{id}@example.com>")),
        ("email", format!("{id}@exam\u{0}ple.com")),
        ("name", "Hanako\r\nBcc: all@example.com".to_owned()),
        ("name", "Hanako\u{1b}[2J".to_owned()),
    ] {
        let mut body = json!({"email": format!("{id}@example.com"), "password": PASSWORD, "name": "Hanako"});
        body[field] = json!(value);
        let response = system.post_gateway("/v1/auth/register", &body).await;
        assert_eq!(response.expect_problem(422), "invalid-body", "{field} {value:?}");
    }

    // Mails escape user input.
    let mut user = TestUser {
        email: format!("{id}@example.com"),
        password: PASSWORD.to_owned(),
    };
    let body = json!({
        "email": user.email, "password": user.password, "name": "<a href=//evil.example>Hanako</a>",
    });
    system
        .post_gateway("/v1/auth/register", &body)
        .await
        .expect_status(202);
    let mail = system.wait_for_mail(&user.email, "Welcome", 1).await.remove(0);
    let html = mail["BodyHtml"].as_str().expect("a mail has an HTML part");
    assert!(!html.contains("<a href=//evil"), "{html}");
    user.email.make_ascii_uppercase();
    system.sign_in(&user).await;

    let customer = system.customer().await;
    for (name, value) in [
        ("traceparent", "00-\",\"level\":\"ERROR\"-x-01"),
        (
            "traceparent",
            "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-zz",
        ),
        ("x-forwarded-for", "203.0.113.7\", \"level\": \"ERROR"),
        ("user-agent", "\",\"level\":\"ERROR\"}"),
    ] {
        for request in requests_to_gateway_and_core_api(&system, &Method::GET, "/v1/me") {
            let response = send(request.bearer_auth(&customer.token).header(name, value)).await;
            assert_eq!(response.status, 200, "{name}: {response:?}");
        }
    }
    for request in requests_to_gateway_and_core_api(&system, &Method::GET, "/v1/cart") {
        let response = send(request.header("cart-token", "../../orders")).await;
        assert_eq!(assert_problem(&response, 400), "invalid-cart-token");
    }
    // Only core-api is tested, because the local gateway fails on these paths; AWS forwards them.
    for path in [
        "/v1/products/%0d%0aSet-Cookie:%20a=b",
        "/v1/products/%00",
        "/v1/products/..%2f..%2fmetrics",
    ] {
        let response = send(system.core_api_request(Method::GET, path)).await;
        assert!(response.status.is_client_error(), "{path}: {response:?}");
        assert!(!response.headers.contains_key("set-cookie"), "{path}");
    }
}

#[tokio::test]
async fn oversized_requests_are_rejected() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let long = "x".repeat(100_000);
    for (path, body) in [
        (
            "/v1/auth/register",
            json!({"email": "a@example.com", "password": long, "name": "Hanako"}),
        ),
        (
            "/v1/auth/login",
            json!({"email": "a@example.com", "password": long}),
        ),
        ("/v1/auth/refresh", json!({"refresh_token": long})),
        (
            "/v1/auth/password/reset",
            json!({"token": long, "password": PASSWORD}),
        ),
    ] {
        assert_eq!(
            system.post_gateway(path, &body).await.expect_problem(413),
            "body-too-large",
            "{path}"
        );
    }
    for (path, body) in [
        (
            "/v1/auth/login",
            json!({"email": format!("{}@example.com", "a".repeat(300)), "password": "x"}),
        ),
        (
            "/v1/auth/register",
            json!({"email": "a@example.com", "password": "x".repeat(129), "name": "Hanako"}),
        ),
        (
            "/v1/auth/register",
            json!({"email": "a@example.com", "password": PASSWORD, "name": "x".repeat(101)}),
        ),
    ] {
        assert_eq!(
            system.post_gateway(path, &body).await.expect_problem(422),
            "invalid-body",
            "{path}"
        );
    }
    for request in requests_to_gateway_and_core_api(&system, &Method::POST, "/v1/orders") {
        let request = request
            .bearer_auth(&customer.token)
            .header("idempotency-key", "one");
        let response = send(request.json(&json!({"items": [], "payment_method": long}))).await;
        assert_eq!(assert_problem(&response, 413), "body-too-large");
    }
    let deep = format!("{{\"items\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    for request in requests_to_gateway_and_core_api(&system, &Method::POST, "/v1/orders") {
        let request = request
            .bearer_auth(&customer.token)
            .header("idempotency-key", "one")
            .header("content-type", "application/json");
        let response = send(request.body(deep.clone())).await;
        assert!(response.status.is_client_error(), "{response:?}");
    }
    let (many, one) = ("a=b&".repeat(15_000), format!("cursor={}", &long[..60_000]));
    for query in [many, one] {
        let response = send(system.core_api_request(Method::GET, &format!("/v1/products?{query}"))).await;
        assert!(response.status.is_client_error(), "{response:?}");
    }
    let header = send(
        system
            .core_api_request(Method::GET, "/v1/products")
            .header("x-large", &long),
    )
    .await;
    assert!(
        header.status.is_client_error() || header.status == StatusCode::OK,
        "{header:?}"
    );
    let quantity = system
        .gateway_request(
            Method::PUT,
            &format!("/v1/cart/items/{}", system.create_product(100, 1).await),
        )
        .json(&json!({"quantity": u64::MAX}));
    assert_eq!(send(quantity).await.status, 422);
    send(system.gateway_request(Method::GET, "/v1/products"))
        .await
        .expect_status(200);
}
