//! Authentication through the API gateway: registration, sessions, password reset, JWKS and the audit log.

use reqwest::Method;
use serde_json::{Value, json};

use e2e::system::{ApiResponse, TestSystem, eventually, send};

/// Asserts that the API gateway itself rejected the token, with its own response.
#[track_caller]
fn assert_rejected_by_gateway(response: ApiResponse) {
    assert_eq!(response.expect_status(401), json!({"message": "Unauthorized"}));
}

/// Waits until core-api rejects a revoked token; it caches the account status for a second.
async fn wait_until_token_rejected(system: &TestSystem, access_token: &str) {
    eventually("the token to be rejected", async || {
        let response = system.get_gateway("/v1/me", access_token).await;
        if response.status == 200 {
            return None;
        }
        let body = response.expect_status(401);
        assert_eq!(
            body["type"], "https://matsuri.dev/problems/unauthorized",
            "{body}"
        );
        Some(())
    })
    .await;
}

#[tokio::test]
async fn user_registers_verifies_the_email_and_refreshes_the_session() {
    let system = TestSystem::shared();
    let hanako = system.register_user().await;
    let session = system.sign_in(&hanako).await;
    let me = system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200);
    assert_eq!(
        (&me["email"], &me["email_verified"], &me["role"]),
        (&json!(hanako.email), &json!(false), &json!("customer"))
    );

    let link = json!({"token": system.link_token(&hanako.email, "Welcome", "verify").await});
    let verify = system.post_gateway("/v1/auth/email/verify", &link).await;
    assert_eq!((verify.status.as_u16(), verify.body), (204, json!("")));
    let again = system.post_gateway("/v1/auth/email/verify", &link).await;
    assert_eq!(again.expect_problem(400), "invalid-link");
    let me = system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200);
    assert_eq!(me["email_verified"], true);

    let next = system.refresh(&session).await;
    assert_ne!(next.refresh_token, session.refresh_token);
    let again = system
        .get_gateway("/v1/me", &next.access_token)
        .await
        .expect_status(200);
    assert_eq!(again["id"], me["id"]);
}

#[tokio::test]
async fn registration_and_login_do_not_reveal_registered_addresses() {
    let system = TestSystem::shared();
    let hanako = system.register_user().await;
    let body = json!({"email": hanako.email, "password": "a guess of mine", "name": "Mallory"});
    let response = system
        .post_gateway("/v1/auth/register", &body)
        .await
        .expect_status(202);
    let other = json!({
        "email": format!("another-{}", hanako.email), "password": "a guess of mine", "name": "Mallory",
    });
    assert_eq!(
        system
            .post_gateway("/v1/auth/register", &other)
            .await
            .expect_status(202),
        response
    );
    system
        .wait_for_mail(&hanako.email, "You have an account at Matsuri", 1)
        .await;

    let wrong = system.try_sign_in(&hanako.email, "a guess of mine").await;
    let unknown = system.try_sign_in("unknown@example.com", "a guess of mine").await;
    assert_eq!(wrong.body, unknown.body);
    assert_eq!(wrong.expect_problem(401), "invalid-credentials");
    system.sign_in(&hanako).await;
}

#[tokio::test]
async fn logout_ends_only_its_own_session_and_is_idempotent() {
    let system = TestSystem::shared();
    let hanako = system.register_user().await;
    let (session, other) = (system.sign_in(&hanako).await, system.sign_in(&hanako).await);
    let logout = json!({"refresh_token": session.refresh_token});
    for _ in 0..2 {
        let response = system.post_gateway("/v1/auth/logout", &logout).await;
        assert_eq!(response.status, 204, "{response:?}");
    }
    assert_eq!(
        system
            .try_refresh(&session.refresh_token)
            .await
            .expect_problem(401),
        "session-ended"
    );
    let other = system.refresh(&other).await;
    system
        .get_gateway("/v1/me", &other.access_token)
        .await
        .expect_status(200);
}

#[tokio::test]
async fn logout_everywhere_ends_all_sessions_and_access_tokens() {
    let system = TestSystem::shared();
    let hanako = system.register_user().await;
    let (first, second) = (system.sign_in(&hanako).await, system.sign_in(&hanako).await);
    system
        .get_gateway("/v1/me", &second.access_token)
        .await
        .expect_status(200);
    let logout = json!({"refresh_token": first.refresh_token, "everywhere": true});
    let response = system.post_gateway("/v1/auth/logout", &logout).await;
    assert_eq!(response.status, 204, "{response:?}");

    for session in [&first, &second] {
        let refresh = system.try_refresh(&session.refresh_token).await;
        assert_eq!(refresh.expect_problem(401), "session-ended");
        wait_until_token_rejected(&system, &session.access_token).await;
    }
    // The user can sign in again immediately.
    let again = system.sign_in(&hanako).await;
    system
        .get_gateway("/v1/me", &again.access_token)
        .await
        .expect_status(200);
}

#[tokio::test]
async fn password_reset_by_mail_replaces_the_password_and_ends_sessions() {
    let system = TestSystem::shared();
    let hanako = system.register_user().await;
    let before = system.sign_in(&hanako).await;
    system
        .get_gateway("/v1/me", &before.access_token)
        .await
        .expect_status(200);

    let known = system
        .post_gateway("/v1/auth/password/forgot", &json!({"email": hanako.email}))
        .await;
    let unknown = json!({"email": format!("unknown-{}", hanako.email)});
    let unknown = system.post_gateway("/v1/auth/password/forgot", &unknown).await;
    assert_eq!(
        known.body, unknown.body,
        "the response must not reveal which addresses are registered"
    );
    assert_eq!((known.status, unknown.status.as_u16()), (unknown.status, 202));

    let token = system
        .link_token(&hanako.email, "Choose a new password", "reset")
        .await;
    let reset = |password: &str| json!({"token": token, "password": password});
    let weak = system
        .post_gateway("/v1/auth/password/reset", &reset(&hanako.email))
        .await;
    assert_eq!(
        weak.expect_problem(422),
        "invalid-body",
        "a rejected password must not use up the link"
    );
    let done = system
        .post_gateway("/v1/auth/password/reset", &reset("quite another horse"))
        .await;
    assert_eq!(done.status, 204, "{done:?}");
    let again = system
        .post_gateway("/v1/auth/password/reset", &reset("yet another strong horse"))
        .await;
    assert_eq!(again.expect_problem(400), "invalid-link");

    wait_until_token_rejected(&system, &before.access_token).await;
    assert_eq!(
        system
            .try_refresh(&before.refresh_token)
            .await
            .expect_problem(401),
        "session-ended"
    );
    let old = system.try_sign_in(&hanako.email, &hanako.password).await;
    assert_eq!(old.expect_problem(401), "invalid-credentials");
    system
        .try_sign_in(&hanako.email, "quite another horse")
        .await
        .expect_status(200);
    system
        .wait_for_mail(&hanako.email, "Your password has changed", 1)
        .await;
}

/// A reused refresh token may be stolen, so the session ends for both of its holders.
#[tokio::test]
async fn reused_refresh_token_ends_the_session_and_sends_a_mail() {
    let system = TestSystem::shared();
    let hanako = system.register_user().await;
    let first = system.sign_in(&hanako).await;
    let second = system.refresh(&first).await;
    // Two pages of one browser may send the same token at the same time.
    let concurrent = system.refresh(&first).await;
    assert_eq!(concurrent.refresh_token, second.refresh_token);
    let third = system.refresh(&second).await;

    assert_eq!(
        system.try_refresh(&first.refresh_token).await.expect_problem(401),
        "session-ended"
    );
    assert_eq!(
        system.try_refresh(&third.refresh_token).await.expect_problem(401),
        "session-ended"
    );
    system
        .wait_for_mail(&hanako.email, "We have ended one of your sessions", 1)
        .await;
}

#[tokio::test]
async fn logout_with_an_old_refresh_token_ends_the_session_and_sends_a_mail() {
    let system = TestSystem::shared();
    let hanako = system.register_user().await;
    let first = system.sign_in(&hanako).await;
    let second = system.refresh(&first).await;
    let third = system.refresh(&second).await;

    let logout = json!({"refresh_token": first.refresh_token});
    let response = system.post_gateway("/v1/auth/logout", &logout).await;
    assert_eq!(response.status, 204, "{response:?}");
    assert_eq!(
        system.try_refresh(&third.refresh_token).await.expect_problem(401),
        "session-ended"
    );
    system
        .wait_for_mail(&hanako.email, "We have ended one of your sessions", 1)
        .await;
}

#[tokio::test]
async fn unauthenticated_clients_reach_public_routes_only() {
    let system = TestSystem::shared();
    let request = |method: Method, path: &str| system.gateway_request(method, path);
    for path in ["/v1/products", "/v1/categories", "/v1/cart"] {
        send(request(Method::GET, path)).await.expect_status(200);
    }
    for (method, path) in [
        (Method::GET, "/v1/me"),
        (Method::GET, "/v1/orders"),
        (Method::POST, "/v1/orders"),
        (Method::POST, "/v1/products"),
        (Method::POST, "/v1/cart/checkout"),
        (Method::GET, "/v1/users"),
        (Method::GET, "/v1/audit"),
    ] {
        assert_rejected_by_gateway(send(request(method.clone(), path)).await);
        assert_rejected_by_gateway(send(request(method, path).bearer_auth("token")).await);
    }
    // A service token is not a user token.
    assert_rejected_by_gateway(system.get_gateway("/v1/me", &system.service_caller().token).await);
}

#[tokio::test]
async fn discovery_names_the_issuer_and_jwks_has_public_keys_only() {
    let system = TestSystem::shared();
    let read = async |path: &str| {
        send(system.gateway_request(Method::GET, path))
            .await
            .expect_status(200)
    };
    let configuration = read("/.well-known/openid-configuration").await;
    assert_eq!(configuration["issuer"], json!(system.gateway_url));
    let jwks = format!("{}/.well-known/jwks.json", system.gateway_url);
    assert_eq!(configuration["jwks_uri"], json!(jwks));

    let keys = read("/.well-known/jwks.json").await;
    let keys = keys["keys"].as_array().unwrap();
    assert!(keys.len() >= 2, "the JWKS contains the next signing key");
    for key in keys {
        let members: Vec<&String> = key.as_object().unwrap().keys().collect();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"], "{key}");
    }
}

#[tokio::test]
async fn gateway_does_not_route_to_stock_service() {
    let system = TestSystem::shared();
    let lantern = system.create_product(100, 10).await;
    let (customer, admin) = (system.customer().await, system.admin().await);
    let stock = format!("/v1/stock/{lantern}");
    system.get_stock_level(&lantern).await.expect_status(200);
    for path in [
        stock.as_str(),
        &format!("{stock}/adjustments"),
        "/v1/reservations",
        &format!("/v1/products/..%2f..%2fv1%2fstock%2f{lantern}"),
    ] {
        for token in [&customer.token, &admin.token] {
            let response = system.get_gateway(path, token).await;
            assert_eq!(response.status, 404, "{path}: {response:?}");
        }
        let with_service_token = system.get_gateway(path, &system.service_caller().token).await;
        assert_ne!(with_service_token.status, 200, "{path}: {with_service_token:?}");
    }
    let adjustment =
        json!({"adjustment_id": domain::ids::uuid_v7(system.now()), "delta": 1, "reason": "test"});
    let request = system.gateway_request(Method::POST, &format!("{stock}/adjustments"));
    let response = send(request.bearer_auth(&admin.token).json(&adjustment)).await;
    assert_eq!(response.status, 404, "{response:?}");
    assert_eq!(system.stock_quantities(&lantern).await, (10, 0));
}

/// Audit log entries contain the user and the client address, and no secrets.
#[tokio::test]
async fn audit_log_records_authentication_without_secrets() {
    let system = TestSystem::shared();
    let hanako = system.register_user().await;
    let session = system.sign_in(&hanako).await;
    let me = system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200);
    let wrong = system.try_sign_in(&hanako.email, "not the password").await;
    assert_eq!(wrong.status, 401);

    let admin = system.admin().await;
    let path = format!("/v1/audit?subject={}", me["id"].as_str().unwrap());
    let log = system.get_gateway(&path, &admin.token).await.expect_status(200);
    let entries = log["items"].as_array().unwrap();
    let actions: Vec<&Value> = entries.iter().rev().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["registered", "login", "login_refused"]);
    assert!(
        entries.iter().all(|entry| entry["address"].is_string()),
        "{entries:?}"
    );
    let text = log.to_string();
    for secret in [
        &hanako.email,
        &hanako.password,
        &session.access_token,
        &session.refresh_token,
    ] {
        assert!(!text.contains(secret.as_str()));
    }
    let as_customer = system.get_gateway(&path, &session.access_token).await;
    assert_eq!(as_customer.status, 403, "{as_customer:?}");
}
