//! What those who run the shop, and those who help in it, see and do of others' accounts.

use std::{fmt::Write, time::Duration};

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;
use users::NewAuditEntry;

use crate::{
    authentication::TestUser,
    support::{RequestBuilderExt, TestApp, TestResponse},
};

async fn get(app: &TestApp, token: &str, path: &str) -> TestResponse {
    app.get(path).bearer_auth(token).fetch().await
}

async fn change_role(app: &TestApp, token: &str, person: &TestUser, role: &Value) -> TestResponse {
    app.put(format!("/v1/users/{}/role", person.id()))
        .bearer_auth(token)
        .header("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
        .json(&json!({"role": role}))
        .fetch()
        .await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn accounts_are_listed_newest_first_and_found_by_their_address(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let support = app.user_with_role(Role::Support).await.token();
    let mut people = Vec::new();
    for _ in 0..5 {
        people.insert(0, app.customer().await.id().to_string());
    }
    let (mut met, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = get(&app, &support, &format!("/v1/users{query}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        for account in page.body["items"].as_array().unwrap() {
            met.push(account["id"].as_str().unwrap().to_owned());
        }
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={next}");
        // Whoever comes in between stands before the page.
        app.customer().await;
    }
    assert_eq!(met[..5], people);
    assert_eq!(met.len(), 7, "with the administrator and the one who asks");

    let email = format!("{}%40EXAMPLE.com", people[2]);
    let found = get(&app, &support, &format!("/v1/users?email=%20{email}")).await;
    assert_eq!(found.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(found.body["items"][0]["id"], json!(people[2]));
    let read = get(&app, &support, &format!("/v1/users/{}", people[2])).await;
    assert_eq!(read.body, found.body["items"][0]);

    let gone = app.customer().await;
    let removal = app.delete("/v1/me").bearer_auth(gone.token());
    assert_eq!(removal.fetch().await.status, 204);
    let path = format!("/v1/users/{}", gone.id());
    assert_eq!(get(&app, &support, &path).await.problem(), "404 not-found");

    let first = get(&app, &support, "/v1/users?limit=1").await;
    let foreign = format!("/v1/users?email=a%40b.c&cursor={}", first.body_str("next_cursor"));
    let mut table = String::new();
    for query in [
        foreign.as_str(),
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
async fn a_role_is_changed_by_administrators_and_written_down(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (someone, support) = (app.customer().await, app.user_with_role(Role::Support).await);
    assert_eq!(
        get(&app, &someone.token(), "/v1/users").await.problem(),
        "403 forbidden"
    );

    let raised = change_role(&app, &app.admin_token, &someone, &json!("support")).await;
    assert_eq!(
        (raised.status, raised.body_str("role")),
        (200, "support".to_owned())
    );
    // The token that says `customer` opens at once what the role permits.
    assert_eq!(get(&app, &someone.token(), "/v1/users").await.status, 200);
    // The same again is nothing to write down.
    assert_eq!(
        change_role(&app, &app.admin_token, &someone, &json!("support"))
            .await
            .status,
        200
    );

    let log = get(
        &app,
        &app.admin_token,
        &format!("/v1/audit?subject={}", someone.id()),
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
    assert_eq!(log.body["items"][0]["subject"], json!(someone.id()));

    let helper = support.token();
    assert_eq!(
        change_role(&app, &helper, &someone, &json!("admin"))
            .await
            .problem(),
        "403 forbidden"
    );
    assert_eq!(
        change_role(&app, &helper, &support, &json!("admin"))
            .await
            .problem(),
        "403 forbidden"
    );
    assert_eq!(get(&app, &helper, "/v1/audit").await.problem(), "403 forbidden");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn nobody_changes_their_own_role_nor_gives_one_that_there_is_not(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (admin, someone) = (app.user_with_role(Role::Admin).await, app.customer().await);
    let own = change_role(&app, &admin.token(), &admin, &json!("customer")).await;
    assert_eq!(own.problem(), "403 own-role");
    let nobody = TestUser::with_role(Role::Customer);
    assert_eq!(
        change_role(&app, &admin.token(), &nobody, &json!("admin"))
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
        let answer = change_role(&app, &admin.token(), &someone, &role).await;
        writeln!(table, "{role:<10} {}", answer.problem()).unwrap();
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

/// Each of two administrators takes the role from the other at the same moment: one of them stays.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn of_two_who_take_the_role_from_each_other_one_keeps_it(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    for _ in 0..10 {
        let (one, other) = (
            app.user_with_role(Role::Admin).await,
            app.user_with_role(Role::Admin).await,
        );
        let (first, second) = (one.token(), other.token());
        let customer = json!("customer");
        let (by_one, by_other) = tokio::join!(
            change_role(&app, &first, &other, &customer),
            change_role(&app, &second, &one, &customer)
        );
        let mut statuses = [by_one.status, by_other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403]);
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_audit_log_is_read_page_by_page_and_by_what_is_looked_for(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (someone, other) = (app.customer().await, app.customer().await);
    for number in 0..5 {
        app.users
            .record_audit(&NewAuditEntry {
                actor: Some(if number == 4 { other.id() } else { someone.id() }),
                action: if number % 2 == 0 { "login" } else { "logout" },
                subject: Some(someone.id().to_string()),
                client_ip: None,
                trace_id: None,
                details: json!({"number": number}),
            })
            .await
            .unwrap();
        // Entries of one millisecond are in no order.
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
    let (mut met, mut query) = (Vec::new(), String::new());
    loop {
        let page = get(
            &app,
            &admin,
            &format!("/v1/audit?subject={}&limit=2{query}", someone.id()),
        )
        .await;
        met.extend(numbers(&page));
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        query = format!("&cursor={next}");
    }
    assert_eq!(met, [4, 3, 2, 1, 0], "newest first");
    for (query, expected) in [
        (format!("actor={}", someone.id()), vec![3, 2, 1, 0]),
        (format!("actor={}&action=login", someone.id()), vec![2, 0]),
        (format!("subject={}&actor={}", someone.id(), other.id()), vec![4]),
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
        let answer = get(&app, &admin, &format!("/v1/audit?{query}")).await;
        writeln!(table, "{query:<12} {}", answer.problem()).unwrap();
    }
    assert_snapshot!(table, @r"
    actor=me     400 invalid-query
    subject=%00  400 invalid-query
    action=      400 invalid-query
    limit=0      400 invalid-query
    after=1      400 invalid-query
    cursor=x     400 invalid-cursor
    ");

    // The database itself keeps it as it is.
    for statement in [
        "UPDATE audit_log SET action = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
    ] {
        assert!(
            sqlx::query(statement).execute(&pool).await.is_err(),
            "{statement}"
        );
    }
}
