//! The admin API: accounts of all users, roles, and the audit log.

use std::{fmt::Write, time::Duration};

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;
use users::NewAuditEntry;

use crate::{
    support::{RequestBuilderExt, TestApp, TestResponse},
    test_user::TestUser,
};

async fn get(app: &TestApp, token: &str, path: &str) -> TestResponse {
    app.get(path).bearer_auth(token).fetch().await
}

async fn change_role(app: &TestApp, token: &str, user: &TestUser, role: &Value) -> TestResponse {
    app.put(format!("/v1/users/{}/role", user.id()))
        .bearer_auth(token)
        .header("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
        .json(&json!({"role": role}))
        .fetch()
        .await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn lists_accounts_newest_first_and_finds_them_by_email(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let support = app.user_with_role(Role::Support).await.token();
    let mut user_ids = Vec::new();
    for _ in 0..5 {
        user_ids.insert(0, app.customer().await.id().to_string());
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = get(&app, &support, &format!("/v1/users{query}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        for account in page.body["items"].as_array().unwrap() {
            seen.push(account["id"].as_str().unwrap().to_owned());
        }
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={next}");
        // A new account sorts before this page, so it must not shift the next one.
        app.customer().await;
    }
    assert_eq!(seen[..5], user_ids);
    assert_eq!(
        seen.len(),
        7,
        "the five customers, the administrator and the support user"
    );

    let email = format!("{}%40EXAMPLE.com", user_ids[2]);
    let found = get(&app, &support, &format!("/v1/users?email=%20{email}")).await;
    assert_eq!(found.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(found.body["items"][0]["id"], json!(user_ids[2]));
    let read = get(&app, &support, &format!("/v1/users/{}", user_ids[2])).await;
    assert_eq!(read.body, found.body["items"][0]);

    let deleted_user = app.customer().await;
    let removal = app.delete("/v1/me").bearer_auth(deleted_user.token());
    assert_eq!(removal.fetch().await.status, 204);
    let path = format!("/v1/users/{}", deleted_user.id());
    assert_eq!(get(&app, &support, &path).await.problem(), "404 not-found");

    let first = get(&app, &support, "/v1/users?limit=1").await;
    let cursor_of_another_list = format!("/v1/users?email=a%40b.c&cursor={}", first.body_str("next_cursor"));
    let mut table = String::new();
    for query in [
        cursor_of_another_list.as_str(),
        "/v1/users?limit=0",
        "/v1/users?limit=101",
        "/v1/users?email=",
        "/v1/users?email=%00",
        "/v1/users?role=admin",
        "/v1/users?cursor=nonsense",
        "/v1/users/not-an-id",
    ] {
        let shown = query.split("cursor").next().unwrap();
        writeln!(
            table,
            "{shown:<30} {}",
            get(&app, &support, query).await.problem()
        )
        .unwrap();
    }
    assert_snapshot!(table, @r"
    /v1/users?email=a%40b.c&       400 invalid-cursor
    /v1/users?limit=0              400 invalid-query
    /v1/users?limit=101            400 invalid-query
    /v1/users?email=               400 invalid-query
    /v1/users?email=%00            400 invalid-query
    /v1/users?role=admin           400 invalid-query
    /v1/users?                     400 invalid-cursor
    /v1/users/not-an-id            404 not-found
    ");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn admins_change_roles_and_the_audit_log_records_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (user, support) = (app.customer().await, app.user_with_role(Role::Support).await);
    assert_eq!(
        get(&app, &user.token(), "/v1/users").await.problem(),
        "403 forbidden"
    );

    let promoted = change_role(&app, &app.admin_token, &user, &json!("support")).await;
    assert_eq!(
        (promoted.status, promoted.body_str("role")),
        (200, "support".to_owned())
    );
    // The new role takes effect at once, although the token still says `customer`.
    assert_eq!(get(&app, &user.token(), "/v1/users").await.status, 200);
    // Assigning the same role again creates no audit log entry.
    assert_eq!(
        change_role(&app, &app.admin_token, &user, &json!("support"))
            .await
            .status,
        200
    );

    let log = get(
        &app,
        &app.admin_token,
        &format!("/v1/audit?subject={}", user.id()),
    )
    .await;
    assert_json_snapshot!(log.body, {
        ".items[].id" => "[id]", ".items[].at" => "[time]", ".items[].actor" => "[actor]",
        ".items[].subject" => "[subject]", ".items[].trace_id" => "[trace]",
    }, @r#"
    {
      "items": [
        {
          "action": "role_changed",
          "actor": "[actor]",
          "address": "203.0.113.7",
          "at": "[time]",
          "details": {
            "from": "customer",
            "to": "support"
          },
          "id": "[id]",
          "subject": "[subject]",
          "trace_id": "[trace]"
        }
      ],
      "next_cursor": null
    }
    "#);
    assert_eq!(log.body["items"][0]["subject"], json!(user.id()));

    let support_token = support.token();
    assert_eq!(
        change_role(&app, &support_token, &user, &json!("admin"))
            .await
            .problem(),
        "403 forbidden"
    );
    assert_eq!(
        change_role(&app, &support_token, &support, &json!("admin"))
            .await
            .problem(),
        "403 forbidden"
    );
    assert_eq!(
        get(&app, &support_token, "/v1/audit").await.problem(),
        "403 forbidden"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_own_role_change_and_unassignable_roles(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (admin, user) = (app.user_with_role(Role::Admin).await, app.customer().await);
    let own_role = change_role(&app, &admin.token(), &admin, &json!("customer")).await;
    assert_eq!(own_role.problem(), "403 own-role-change");
    let without_account = TestUser::with_role(Role::Customer);
    assert_eq!(
        change_role(&app, &admin.token(), &without_account, &json!("admin"))
            .await
            .problem(),
        "404 not-found"
    );
    let mut table = String::new();
    for role in [
        json!("service"),
        json!("root"),
        json!("Admin"),
        json!(""),
        Value::Null,
        json!(["admin"]),
    ] {
        let response = change_role(&app, &admin.token(), &user, &role).await;
        writeln!(table, "{role:<10} {}", response.problem()).unwrap();
    }
    assert_snapshot!(table, @r#"
    "service" 422 invalid-body /role: expected customer, support or admin
    "root" 422 invalid-body /role: unknown variant `root`, expected one of `customer`, `support`, `admin`, `service`
    "Admin" 422 invalid-body /role: unknown variant `Admin`, expected one of `customer`, `support`, `admin`, `service`
    "" 422 invalid-body /role: unknown variant ``, expected one of `customer`, `support`, `admin`, `service`
    null 400 malformed-json
    ["admin"] 400 malformed-json
    "#);
    let log = get(&app, &app.admin_token, "/v1/audit?action=role_changed").await;
    assert_eq!(log.body["items"], json!([]));
}

/// Two administrators revoke each other's role concurrently. One stays administrator.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn concurrent_mutual_demotion_leaves_one_admin(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    for _ in 0..10 {
        let (first, second) = (
            app.user_with_role(Role::Admin).await,
            app.user_with_role(Role::Admin).await,
        );
        let (first_token, second_token) = (first.token(), second.token());
        let customer = json!("customer");
        let (by_first, by_second) = tokio::join!(
            change_role(&app, &first_token, &second, &customer),
            change_role(&app, &second_token, &first, &customer)
        );
        let mut statuses = [by_first.status, by_second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403]);
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn audit_log_is_paginated_filtered_and_append_only(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (user, other) = (app.customer().await, app.customer().await);
    for number in 0..5 {
        app.users
            .record_audit(&NewAuditEntry {
                actor: Some(if number == 4 { other.id() } else { user.id() }),
                action: if number % 2 == 0 { "login" } else { "logout" },
                subject: Some(user.id().to_string()),
                client_ip: None,
                trace_id: None,
                details: json!({"number": number}),
            })
            .await
            .unwrap();
        // Entries of the same millisecond have no defined order.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let numbers = |page: &TestResponse| -> Vec<i64> {
        page.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["details"]["number"].as_i64().unwrap())
            .collect()
    };
    let admin = app.admin_token.clone();
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = get(
            &app,
            &admin,
            &format!("/v1/audit?subject={}&limit=2{query}", user.id()),
        )
        .await;
        seen.extend(numbers(&page));
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        query = format!("&cursor={next}");
    }
    assert_eq!(seen, [4, 3, 2, 1, 0], "newest first");
    for (query, expected) in [
        (format!("actor={}", user.id()), vec![3, 2, 1, 0]),
        (format!("actor={}&action=login", user.id()), vec![2, 0]),
        (format!("subject={}&actor={}", user.id(), other.id()), vec![4]),
        (format!("subject={}", other.id()), vec![]),
    ] {
        let page = get(&app, &admin, &format!("/v1/audit?{query}")).await;
        assert_eq!(numbers(&page), expected, "{query}");
    }
    let mut table = String::new();
    for query in [
        "actor=me",
        "subject=%00",
        "action=",
        "limit=0",
        "after=1",
        "cursor=x",
    ] {
        let response = get(&app, &admin, &format!("/v1/audit?{query}")).await;
        writeln!(table, "{query:<12} {}", response.problem()).unwrap();
    }
    assert_snapshot!(table, @r"
    actor=me     400 invalid-query
    subject=%00  400 invalid-query
    action=      400 invalid-query
    limit=0      400 invalid-query
    after=1      400 invalid-query
    cursor=x     400 invalid-cursor
    ");

    // The database refuses to change or delete entries.
    for statement in [
        "UPDATE accounts.audit_log SET action = 'x'",
        "DELETE FROM accounts.audit_log",
        "TRUNCATE accounts.audit_log",
    ] {
        assert!(
            sqlx::query(statement).execute(&pool).await.is_err(),
            "{statement}"
        );
    }
}
