//! Who people are: from the first mail to the last sign-out, by the front door.

use reqwest::Method;
use serde_json::{Value, json};

use e2e::system::{ApiResponse, TestSystem, eventually, send};

/// What the front door itself says to whoever shows it no token that it knows.
#[track_caller]
fn assert_rejected_by_gateway(answer: ApiResponse) {
    assert_eq!(answer.expect_status(401), json!({"message": "Unauthorized"}));
}

/// Waits until what was good at the front door is so no more: core-api asks an account again after a second.
async fn wait_until_token_rejected(system: &TestSystem, access_token: &str) {
    eventually("the end of a token", async || {
        let answer = system.get_gateway("/v1/me", access_token).await;
        if answer.status == 200 {
            return None;
        }
        let body = answer.expect_status(401);
        assert_eq!(
            body["type"], "https://matsuri.dev/problems/unauthorized",
            "{body}"
        );
        Some(())
    })
    .await;
}

#[tokio::test]
async fn somebody_registers_proves_their_address_and_stays_signed_in() {
    let system = TestSystem::shared().await;
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
async fn an_address_that_is_taken_is_told_to_its_owner_alone() {
    let system = TestSystem::shared().await;
    let hanako = system.register_user().await;
    let body = json!({"email": hanako.email, "password": "a guess of mine", "name": "Mallory"});
    let answer = system
        .post_gateway("/v1/auth/register", &body)
        .await
        .expect_status(202);
    let other = json!({"email": format!("another-{}", hanako.email), "password": "a guess of mine", "name": "Mallory"});
    assert_eq!(
        system
            .post_gateway("/v1/auth/register", &other)
            .await
            .expect_status(202),
        answer
    );
    system
        .wait_for_mail(&hanako.email, "You have an account at Matsuri", 1)
        .await;

    let wrong = system.try_sign_in(&hanako.email, "a guess of mine").await;
    let unknown = system
        .try_sign_in("nobody-at-all@example.com", "a guess of mine")
        .await;
    assert_eq!(wrong.body, unknown.body);
    assert_eq!(wrong.expect_problem(401), "invalid-credentials");
    system.sign_in(&hanako).await;
}

#[tokio::test]
async fn signing_out_here_leaves_the_other_devices_signed_in() {
    let system = TestSystem::shared().await;
    let hanako = system.register_user().await;
    let (here, there) = (system.sign_in(&hanako).await, system.sign_in(&hanako).await);
    let leave = json!({"refresh_token": here.refresh_token});
    for _ in 0..2 {
        let left = system.post_gateway("/v1/auth/logout", &leave).await;
        assert_eq!(left.status, 204, "{left:?}");
    }
    assert_eq!(
        system.try_refresh(&here.refresh_token).await.expect_problem(401),
        "session-ended"
    );
    let there = system.refresh(&there).await;
    system
        .get_gateway("/v1/me", &there.access_token)
        .await
        .expect_status(200);
}

#[tokio::test]
async fn signing_out_everywhere_ends_every_session_and_every_token() {
    let system = TestSystem::shared().await;
    let hanako = system.register_user().await;
    let (here, there) = (system.sign_in(&hanako).await, system.sign_in(&hanako).await);
    system
        .get_gateway("/v1/me", &there.access_token)
        .await
        .expect_status(200);
    let leave = json!({"refresh_token": here.refresh_token, "everywhere": true});
    let left = system.post_gateway("/v1/auth/logout", &leave).await;
    assert_eq!(left.status, 204, "{left:?}");

    for session in [&here, &there] {
        let refresh = system.try_refresh(&session.refresh_token).await;
        assert_eq!(refresh.expect_problem(401), "session-ended");
        wait_until_token_rejected(&system, &session.access_token).await;
    }
    // Who knows the password is in again at once.
    let again = system.sign_in(&hanako).await;
    system
        .get_gateway("/v1/me", &again.access_token)
        .await
        .expect_status(200);
}

#[tokio::test]
async fn whoever_forgot_their_password_chooses_another_by_mail() {
    let system = TestSystem::shared().await;
    let hanako = system.register_user().await;
    let before = system.sign_in(&hanako).await;
    system
        .get_gateway("/v1/me", &before.access_token)
        .await
        .expect_status(200);

    let known = system
        .post_gateway("/v1/auth/password/forgot", &json!({"email": hanako.email}))
        .await;
    let unknown = json!({"email": format!("nobody-{}", hanako.email)});
    let unknown = system.post_gateway("/v1/auth/password/forgot", &unknown).await;
    assert_eq!(known.body, unknown.body, "it is not told who has an account");
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
        "the link is good for another try"
    );
    let done = system
        .post_gateway("/v1/auth/password/reset", &reset("quite another horse"))
        .await;
    assert_eq!(done.status, 204, "{done:?}");
    let again = system
        .post_gateway("/v1/auth/password/reset", &reset("and another"))
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

/// Whoever stole it, and whoever it was stolen from, cannot both go on.
#[tokio::test]
async fn a_refresh_token_that_comes_again_ends_the_session_and_is_told() {
    let system = TestSystem::shared().await;
    let hanako = system.register_user().await;
    let first = system.sign_in(&hanako).await;
    let second = system.refresh(&first).await;
    // Two pages of one browser may show the same token at once.
    let beside = system.refresh(&first).await;
    assert_eq!(beside.refresh_token, second.refresh_token);
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
async fn without_a_token_only_what_is_open_is_open() {
    let system = TestSystem::shared().await;
    let door = |method: Method, path: &str| system.gateway_request(method, path);
    for path in ["/v1/products", "/v1/categories", "/v1/cart"] {
        send(door(Method::GET, path)).await.expect_status(200);
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
        assert_rejected_by_gateway(send(door(method.clone(), path)).await);
        assert_rejected_by_gateway(send(door(method, path).bearer_auth("token")).await);
    }
    // A program's token is no person's.
    assert_rejected_by_gateway(system.get_gateway("/v1/me", &system.service_caller().token).await);
}

#[tokio::test]
async fn the_issuer_says_who_it_is_and_shows_no_secret() {
    let system = TestSystem::shared().await;
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
    assert!(keys.len() >= 2, "the next key is published before it signs");
    for key in keys {
        let members: Vec<&String> = key.as_object().unwrap().keys().collect();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"], "{key}");
    }
}

#[tokio::test]
async fn stock_service_is_not_behind_the_front_door() {
    let system = TestSystem::shared().await;
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
            let answer = system.get_gateway(path, token).await;
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
        }
        let program = system.get_gateway(path, &system.service_caller().token).await;
        assert_ne!(program.status, 200, "{path}: {program:?}");
    }
    let adjustment =
        json!({"adjustment_id": domain::ids::uuid_v7(system.now()), "delta": 1, "reason": "mine"});
    let request = system.gateway_request(Method::POST, &format!("{stock}/adjustments"));
    let answer = send(request.bearer_auth(&admin.token).json(&adjustment)).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(system.stock_quantities(&lantern).await, (10, 0));
}

/// What somebody does at the front door is written down, with who and from where, and without what is secret.
#[tokio::test]
async fn what_is_done_is_written_down() {
    let system = TestSystem::shared().await;
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
    let mine = system.get_gateway(&path, &session.access_token).await;
    assert_eq!(mine.status, 403, "{mine:?}");
}
