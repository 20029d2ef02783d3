//! The user's own account: read, change, export, delete.

use std::fmt::Write;

use domain::{Clock, PaymentId, UserId};
use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;

use crate::{
    support::{RequestBuilderExt, TestApp, TestResponse},
    test_user::TestUser,
};

async fn get_account(app: &TestApp, user: &TestUser) -> TestResponse {
    app.get("/v1/me").bearer_auth(user.token()).fetch().await
}

async fn patch_account(app: &TestApp, user: &TestUser, version: &str, patch: &Value) -> TestResponse {
    app.patch("/v1/me")
        .bearer_auth(user.token())
        .header("If-Match", version)
        .json(patch)
        .fetch()
        .await
}

async fn delete_account(app: &TestApp, user: &TestUser) -> TestResponse {
    app.delete("/v1/me").bearer_auth(user.token()).fetch().await
}

/// Places an order and returns its path.
async fn place_order(app: &TestApp, user: &TestUser, key: &str) -> String {
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let body = json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": "pm_card_visa"});
    let placed = app.order_request(&user.token(), key, &body).fetch().await;
    assert_eq!(placed.status, 202, "{placed:?}");
    placed.header("location").to_owned()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn user_reads_and_changes_own_account(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (user, other) = (app.customer().await, app.customer().await);
    let before = get_account(&app, &user).await;
    assert_json_snapshot!(before, {
        ".headers.etag" => "[version]", ".body.id" => "[id]", ".body.email" => "[email]",
        ".body.created_at" => "[time]", ".body.updated_at" => "[time]",
    }, @r#"
    {
      "status": 200,
      "headers": {
        "content-type": "application/json",
        "etag": "[version]"
      },
      "body": {
        "created_at": "[time]",
        "email": "[email]",
        "email_verified": false,
        "id": "[id]",
        "name": "Hanako",
        "phone_number": null,
        "preferences": {
          "language": "en",
          "order_mails": true,
          "order_sms": false,
          "quiet_hours": null
        },
        "role": "customer",
        "updated_at": "[time]"
      }
    }
    "#);
    assert_eq!(before.body_str("id"), user.id().to_string());
    assert_eq!(before.body_str("email"), format!("{}@example.com", user.id()));

    let version = before.header("etag").to_owned();
    let patch = json!({"name": "花子", "preferences": {"language": "ja"}});
    let changed = patch_account(&app, &user, &version, &patch).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.body["name"], "花子");
    assert_eq!(
        changed.body["preferences"],
        json!({"order_mails": true, "order_sms": false, "quiet_hours": null, "language": "ja"})
    );
    assert_ne!(changed.header("etag"), version);
    let again = get_account(&app, &user).await;
    assert_eq!(
        (&again.body, again.header("etag")),
        (&changed.body, changed.header("etag"))
    );
    assert_eq!(
        patch_account(&app, &user, &version, &patch).await.problem(),
        "412 precondition-failed"
    );

    // Repeating a change keeps the version.
    let same = patch_account(&app, &user, "*", &patch).await;
    assert_eq!(same.header("etag"), changed.header("etag"));
    let without_mails =
        patch_account(&app, &user, "*", &json!({"preferences": {"order_mails": false}})).await;
    assert_eq!(
        without_mails.body["preferences"],
        json!({"order_mails": false, "order_sms": false, "quiet_hours": null, "language": "ja"})
    );
    let reset = patch_account(&app, &user, "*", &json!({"preferences": null})).await;
    assert_eq!(
        reset.body["preferences"],
        json!({"order_mails": true, "order_sms": false, "quiet_hours": null, "language": "en"})
    );
    assert_eq!(
        get_account(&app, &other).await.body["name"],
        "Hanako",
        "the other account is unchanged"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_account_changes(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let before = get_account(&app, &user).await;
    let mut table = String::new();
    for (case, patch) in [
        ("role", json!({"role": "admin"})),
        ("name and role", json!({"name": "Mallory", "role": "admin"})),
        ("role null", json!({"role": null})),
        ("id", json!({"id": "00000000-0000-7000-8000-000000000000"})),
        ("e-mail", json!({"email": "mallory@example.com"})),
        ("e-mail verified", json!({"email_verified": true})),
        ("password", json!({"password_hash": "x"})),
        ("name null", json!({"name": null})),
        ("empty name", json!({"name": ""})),
        ("blank name", json!({"name": "　 "})),
        ("long name", json!({"name": "あ".repeat(101)})),
        ("two lines", json!({"name": "Mallory\r\nBcc: all@example.com"})),
        ("NUL", json!({"name": "nul\u{0}"})),
        ("number", json!({"name": 1})),
        ("preferences list", json!({"preferences": []})),
        ("unknown language", json!({"preferences": {"language": "fr"}})),
        ("order_mails text", json!({"preferences": {"order_mails": "yes"}})),
        ("unknown preference", json!({"preferences": {"role": "admin"}})),
        ("list", json!(["admin"])),
        ("null", Value::Null),
    ] {
        let response = patch_account(&app, &user, "*", &patch).await;
        writeln!(table, "{case:<20} {}", response.problem()).unwrap();
    }
    assert_snapshot!(table, @r#"
    role                 422 invalid-body /role: unknown field `role`, expected `name` or `preferences`
    name and role        422 invalid-body /role: unknown field `role`, expected `name` or `preferences`
    role null            422 invalid-body /role: unknown field `role`, expected `name` or `preferences`
    id                   422 invalid-body /id: unknown field `id`, expected `name` or `preferences`
    e-mail               422 invalid-body /email: unknown field `email`, expected `name` or `preferences`
    e-mail verified      422 invalid-body /email_verified: unknown field `email_verified`, expected `name` or `preferences`
    password             422 invalid-body /password_hash: unknown field `password_hash`, expected `name` or `preferences`
    name null            422 invalid-body /name: invalid type: null, expected a string
    empty name           422 invalid-body /name: a name has 1 to 100 characters on one line
    blank name           422 invalid-body /name: a name has 1 to 100 characters on one line
    long name            422 invalid-body /name: a name has 1 to 100 characters on one line
    two lines            422 invalid-body /name: a name has 1 to 100 characters on one line
    NUL                  422 invalid-body /name: a name has 1 to 100 characters on one line
    number               422 invalid-body /name: invalid type: integer `1`, expected a string
    preferences list     422 invalid-body /preferences: invalid type: sequence, expected an object
    unknown language     422 invalid-body /preferences/language: unknown variant `fr`, expected `en` or `ja`
    order_mails text     422 invalid-body /preferences/order_mails: invalid type: string "yes", expected a boolean
    unknown preference   422 invalid-body /preferences/role: unknown field `role`, expected one of `order_mails`, `order_sms`, `quiet_hours`, `language`
    list                 422 invalid-body : invalid type: sequence, expected an object
    null                 422 invalid-body : invalid type: null, expected an object
    "#);
    let without_if_match = app
        .patch("/v1/me")
        .bearer_auth(user.token())
        .json(&json!({"name": "Hanako"}))
        .fetch()
        .await;
    assert_eq!(without_if_match.problem(), "428 if-match-required");
    assert_eq!(
        get_account(&app, &user).await.body,
        before.body,
        "the account is unchanged"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn one_of_two_concurrent_changes_wins(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    for _ in 0..10 {
        let version = get_account(&app, &user).await.header("etag").to_owned();
        let (one, other) = (
            json!({"name": version.clone() + "a"}),
            json!({"name": version.clone() + "b"}),
        );
        let (one, other) = tokio::join!(
            patch_account(&app, &user, &version, &one),
            patch_account(&app, &user, &version, &other)
        );
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412]);
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn deleting_an_account_erases_personal_data_and_keeps_orders(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let user = app.customer().await;
    let token = user.token();
    let order = place_order(&app, &user, "key").await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let put = app
        .put(format!("/v1/cart/items/{bowl}"))
        .bearer_auth(&token)
        .json(&json!({"quantity": 1}));
    assert_eq!(put.fetch().await.status, 200);
    let address = json!({"recipient": "Hanako", "country": "JP", "postal_code": "150-0001",
                         "region": "Tokyo", "city": "Shibuya", "line1": "1-2-3"});
    let added = app.post("/v1/me/addresses").bearer_auth(&token).json(&address);
    assert_eq!(added.fetch().await.status, 201);
    sqlx::query("INSERT INTO accounts.user_identities VALUES ('google', 'g-1', $1, now())")
        .bind(user.id().0)
        .execute(&pool)
        .await
        .unwrap();

    let refused = delete_account(&app, &user).await;
    assert_eq!(refused.problem(), "409 order-in-progress");
    assert_eq!(format!("/v1/orders/{}", refused.body_str("order_id")), order);
    assert_eq!(
        get_account(&app, &user).await.status,
        200,
        "the account still exists"
    );
    let cancel = app.post(format!("{order}/cancel")).bearer_auth(&token);
    assert_eq!(cancel.fetch().await.status, 200);

    let deleted = delete_account(&app, &user).await;
    assert_eq!((deleted.status, &deleted.body), (204, &Value::Null));
    for path in ["/v1/me", "/v1/orders", "/v1/cart", "/v1/me/export"] {
        let response = app.get(path).bearer_auth(&token).fetch().await;
        assert_eq!(response.problem(), "401 unauthorized", "{path}");
    }
    // The row in `users` contains no personal data.
    let row: Value = sqlx::query_scalar("SELECT to_jsonb(users) FROM accounts.users WHERE id = $1")
        .bind(user.id().0)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_json_snapshot!(row, {
        ".id" => "[id]", ".created_at" => "[time]", ".updated_at" => "[time]", ".deleted_at" => "[time]",
        ".tokens_valid_from" => "[time]",
    }, @r#"
    {
      "created_at": "[time]",
      "deleted_at": "[time]",
      "email": null,
      "email_verified_at": null,
      "id": "[id]",
      "name": "",
      "password_hash": null,
      "phone_number": null,
      "preferences": {},
      "role": "customer",
      "tokens_valid_from": "[time]",
      "updated_at": "[time]"
    }
    "#);
    for table in ["accounts.user_addresses", "accounts.user_identities"] {
        let row_count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(row_count, 0, "{table}");
    }
    let id = order.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
    let order = app.orders.find(user.id(), id).await.unwrap().unwrap();
    assert!(order.is_anonymous());
    assert_eq!(order.total_amount, 7_500, "the order keeps its total");
    let items = app
        .dynamodb
        .scan()
        .table_name(&app.sessions_table)
        .send()
        .await
        .unwrap();
    assert_eq!(items.count, 0, "the cart is deleted");

    // The e-mail address can be registered again.
    let email = format!("{}@example.com", user.id());
    sqlx::query(
        "INSERT INTO accounts.users (id, email, name, tokens_valid_from, created_at, updated_at)
         VALUES ($1, $2, 'Again', now(), now(), now())",
    )
    .bind(UserId::new(Clock::system().now()).0)
    .bind(email)
    .execute(&pool)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn account_with_an_order_in_payment_cannot_be_deleted(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let order = place_order(&app, &user, "key").await;
    let id = order.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
    app.orders
        .claim_for_payment(user.id(), id, &PaymentId("pi_1".to_owned()))
        .await
        .unwrap();
    assert_eq!(
        delete_account(&app, &user).await.problem(),
        "409 order-in-progress"
    );
    let order = app.orders.find(user.id(), id).await.unwrap().unwrap();
    assert!(!order.is_anonymous());
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn export_contains_all_data_of_the_user_and_none_of_others(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (user, other) = (app.customer().await, app.customer().await);
    place_order(&app, &other, "theirs").await;
    place_order(&app, &user, "mine").await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let put = app
        .put(format!("/v1/cart/items/{bowl}"))
        .bearer_auth(user.token())
        .json(&json!({"quantity": 3}));
    assert_eq!(put.fetch().await.status, 200);
    let address = json!({"recipient": "Hanako", "country": "JP", "postal_code": "150-0001",
                         "region": "Tokyo", "city": "Shibuya", "line1": "1-2-3"});
    app.post("/v1/me/addresses")
        .bearer_auth(user.token())
        .json(&address)
        .fetch()
        .await;
    // The export contains what an administrator did to the account, but not the administrator's IP address.
    let role = app
        .put(format!("/v1/users/{}/role", user.id()))
        .bearer_auth(&app.admin_token)
        .header("X-Forwarded-For", "203.0.113.99")
        .json(&json!({"role": "support"}));
    assert_eq!(role.fetch().await.status, 200);

    let export = app
        .get("/v1/me/export")
        .bearer_auth(user.token())
        .header("X-Forwarded-For", "203.0.113.7")
        .fetch()
        .await;
    assert_eq!(export.status, 200);
    let text = export.body.to_string();
    assert!(
        !text.contains("203.0.113.99") && !text.contains(&other.id().to_string()),
        "{text}"
    );
    assert_json_snapshot!(export.body, {
        ".account.id" => "[id]", ".account.email" => "[email]",
        ".account.created_at" => "[time]", ".account.updated_at" => "[time]",
        ".addresses[].id" => "[id]", ".addresses[].created_at" => "[time]", ".addresses[].updated_at" => "[time]",
        ".orders[].contact_email" => "[email]", ".orders[].order.order_id" => "[id]",
        ".orders[].order.created_at" => "[time]", ".orders[].order.updated_at" => "[time]",
        ".orders[].order.history[].at" => "[time]", ".orders[].order.items[].product_id" => "[product]",
        ".cart[].product_id" => "[product]",
        ".audit[].id" => "[id]", ".audit[].at" => "[time]", ".audit[].actor" => "[actor]",
        ".audit[].subject" => "[subject]", ".audit[].trace_id" => "[trace]",
    }, @r#"
    {
      "account": {
        "created_at": "[time]",
        "email": "[email]",
        "email_verified": false,
        "id": "[id]",
        "name": "Hanako",
        "phone_number": null,
        "preferences": {
          "language": "en",
          "order_mails": true,
          "order_sms": false,
          "quiet_hours": null
        },
        "role": "support",
        "updated_at": "[time]"
      },
      "addresses": [
        {
          "city": "Shibuya",
          "country": "JP",
          "created_at": "[time]",
          "id": "[id]",
          "line1": "1-2-3",
          "line2": null,
          "phone": null,
          "postal_code": "150-0001",
          "recipient": "Hanako",
          "region": "Tokyo",
          "updated_at": "[time]"
        }
      ],
      "audit": [
        {
          "action": "role_changed",
          "actor": "[actor]",
          "address": null,
          "at": "[time]",
          "details": {
            "from": "customer",
            "to": "support"
          },
          "id": "[id]",
          "subject": "[subject]",
          "trace_id": "[trace]"
        },
        {
          "action": "data_exported",
          "actor": "[actor]",
          "address": "203.0.113.7",
          "at": "[time]",
          "details": {},
          "id": "[id]",
          "subject": "[subject]",
          "trace_id": "[trace]"
        }
      ],
      "cart": [
        {
          "product_id": "[product]",
          "quantity": 3
        }
      ],
      "identities": [],
      "orders": [
        {
          "contact_email": "[email]",
          "order": {
            "created_at": "[time]",
            "currency": "JPY",
            "history": [
              {
                "at": "[time]",
                "status": "pending"
              }
            ],
            "items": [
              {
                "price": 7500,
                "product_id": "[product]",
                "product_name": "Tea bowl",
                "quantity": 1,
                "tax_rate": "standard"
              }
            ],
            "order_id": "[id]",
            "status": "pending",
            "taxes": [
              {
                "percent": 10,
                "tax_amount": 681,
                "tax_rate": "standard",
                "total_amount": 7500
              }
            ],
            "total_amount": 7500,
            "updated_at": "[time]"
          },
          "payment_method": "pm_card_visa",
          "phone_number": null
        }
      ]
    }
    "#);
    assert_eq!(
        export.body["audit"][0]["actor"],
        Value::Null,
        "the export hides the administrator"
    );
    assert_eq!(export.body["audit"][1]["actor"], json!(user.id()));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_user_role_manages_its_own_account(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for role in [Role::Customer, Role::Support, Role::Admin] {
        let user = app.user_with_role(role).await;
        let account = get_account(&app, &user).await;
        assert_eq!(
            (account.status, account.body_str("role")),
            (200, role.to_string())
        );
        assert_eq!(delete_account(&app, &user).await.status, 204);
    }
}
