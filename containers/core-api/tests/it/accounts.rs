//! One's own account: read, changed, exported, deleted.

use std::fmt::Write;

use domain::{Clock, PaymentId, UserId};
use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;

use crate::{
    authentication::TestUser,
    support::{RequestBuilderExt, TestApp, TestResponse},
};

async fn get_account(app: &TestApp, person: &TestUser) -> TestResponse {
    app.get("/v1/me").bearer_auth(person.token()).fetch().await
}

async fn patch_account(app: &TestApp, person: &TestUser, version: &str, patch: &Value) -> TestResponse {
    app.patch("/v1/me")
        .bearer_auth(person.token())
        .header("If-Match", version)
        .json(patch)
        .fetch()
        .await
}

async fn delete_account(app: &TestApp, person: &TestUser) -> TestResponse {
    app.delete("/v1/me").bearer_auth(person.token()).fetch().await
}

/// Places an order and gives its address.
async fn place_order(app: &TestApp, person: &TestUser, key: &str) -> String {
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let body = json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": "pm_card_visa"});
    let placed = app.order_request(&person.token(), key, &body).fetch().await;
    assert_eq!(placed.status, 202, "{placed:?}");
    placed.header("location").to_owned()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn everybody_reads_and_changes_their_own(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (someone, other) = (app.customer().await, app.customer().await);
    let before = get_account(&app, &someone).await;
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
        "preferences": {
          "language": "en",
          "order_mails": true
        },
        "role": "customer",
        "updated_at": "[time]"
      }
    }
    "#);
    assert_eq!(before.body_str("id"), someone.id().to_string());
    assert_eq!(before.body_str("email"), format!("{}@example.com", someone.id()));

    let version = before.header("etag").to_owned();
    let patch = json!({"name": "花子", "preferences": {"language": "ja"}});
    let changed = patch_account(&app, &someone, &version, &patch).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.body["name"], "花子");
    assert_eq!(
        changed.body["preferences"],
        json!({"order_mails": true, "language": "ja"})
    );
    assert_ne!(changed.header("etag"), version);
    let again = get_account(&app, &someone).await;
    assert_eq!(
        (&again.body, again.header("etag")),
        (&changed.body, changed.header("etag"))
    );
    assert_eq!(
        patch_account(&app, &someone, &version, &patch).await.problem(),
        "412 outdated"
    );

    // The same again is no change.
    let same = patch_account(&app, &someone, "*", &patch).await;
    assert_eq!(same.header("etag"), changed.header("etag"));
    let quiet = patch_account(
        &app,
        &someone,
        "*",
        &json!({"preferences": {"order_mails": false}}),
    )
    .await;
    assert_eq!(
        quiet.body["preferences"],
        json!({"order_mails": false, "language": "ja"})
    );
    let reset = patch_account(&app, &someone, "*", &json!({"preferences": null})).await;
    assert_eq!(
        reset.body["preferences"],
        json!({"order_mails": true, "language": "en"})
    );
    assert_eq!(
        get_account(&app, &other).await.body["name"],
        "Hanako",
        "another is untouched"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn what_is_not_ones_own_to_say_is_refused(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    let before = get_account(&app, &someone).await;
    let mut table = String::new();
    for (case, patch) in [
        ("a role", json!({"role": "admin"})),
        (
            "a role beside a name",
            json!({"name": "Mallory", "role": "admin"}),
        ),
        ("no role", json!({"role": null})),
        ("an id", json!({"id": "00000000-0000-7000-8000-000000000000"})),
        ("an address", json!({"email": "mallory@example.com"})),
        ("a verified address", json!({"email_verified": true})),
        ("a password", json!({"password_hash": "x"})),
        ("no name", json!({"name": null})),
        ("an empty name", json!({"name": ""})),
        ("a blank name", json!({"name": "　 "})),
        ("a long name", json!({"name": "あ".repeat(101)})),
        ("two lines", json!({"name": "Mallory\r\nBcc: all@example.com"})),
        ("NUL", json!({"name": "nul\u{0}"})),
        ("a number", json!({"name": 1})),
        ("odd preferences", json!({"preferences": []})),
        ("odd language", json!({"preferences": {"language": "fr"}})),
        ("odd mails", json!({"preferences": {"order_mails": "yes"}})),
        ("odd preference", json!({"preferences": {"role": "admin"}})),
        ("a list", json!(["admin"])),
        ("null", Value::Null),
    ] {
        let answer = patch_account(&app, &someone, "*", &patch).await;
        writeln!(table, "{case:<20} {}", answer.problem()).unwrap();
    }
    assert_snapshot!(table, @r#"
    a role               422 invalid-body /role: unknown field `role`, expected `name` or `preferences`
    a role beside a name 422 invalid-body /role: unknown field `role`, expected `name` or `preferences`
    no role              422 invalid-body /role: unknown field `role`, expected `name` or `preferences`
    an id                422 invalid-body /id: unknown field `id`, expected `name` or `preferences`
    an address           422 invalid-body /email: unknown field `email`, expected `name` or `preferences`
    a verified address   422 invalid-body /email_verified: unknown field `email_verified`, expected `name` or `preferences`
    a password           422 invalid-body /password_hash: unknown field `password_hash`, expected `name` or `preferences`
    no name              422 invalid-body /name: invalid type: null, expected a string
    an empty name        422 invalid-body /name: a name has 1 to 100 characters on one line
    a blank name         422 invalid-body /name: a name has 1 to 100 characters on one line
    a long name          422 invalid-body /name: a name has 1 to 100 characters on one line
    two lines            422 invalid-body /name: a name has 1 to 100 characters on one line
    NUL                  422 invalid-body /name: a name has 1 to 100 characters on one line
    a number             422 invalid-body /name: invalid type: integer `1`, expected a string
    odd preferences      422 invalid-body /preferences: invalid type: sequence, expected an object
    odd language         422 invalid-body /preferences/language: unknown variant `fr`, expected `en` or `ja`
    odd mails            422 invalid-body /preferences/order_mails: invalid type: string "yes", expected a boolean
    odd preference       422 invalid-body /preferences/role: unknown field `role`, expected `order_mails` or `language`
    a list               422 invalid-body : invalid type: sequence, expected an object
    null                 422 invalid-body : invalid type: null, expected an object
    "#);
    let without = app
        .patch("/v1/me")
        .bearer_auth(someone.token())
        .json(&json!({"name": "Hanako"}))
        .fetch()
        .await;
    assert_eq!(without.problem(), "428 if-match-required");
    assert_eq!(
        get_account(&app, &someone).await.body,
        before.body,
        "nothing has changed"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn of_two_changes_to_the_same_version_one_is_made(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    for _ in 0..10 {
        let version = get_account(&app, &someone).await.header("etag").to_owned();
        let (one, other) = (
            json!({"name": version.clone() + "a"}),
            json!({"name": version.clone() + "b"}),
        );
        let (one, other) = tokio::join!(
            patch_account(&app, &someone, &version, &one),
            patch_account(&app, &someone, &version, &other)
        );
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412]);
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_deleted_account_leaves_only_what_the_books_need(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let someone = app.customer().await;
    let token = someone.token();
    let order = place_order(&app, &someone, "key").await;
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
    sqlx::query("INSERT INTO user_identities VALUES ('google', 'g-1', $1, now())")
        .bind(someone.id().0)
        .execute(&pool)
        .await
        .unwrap();

    let refused = delete_account(&app, &someone).await;
    assert_eq!(refused.problem(), "409 order-open");
    assert_eq!(format!("/v1/orders/{}", refused.body_str("order_id")), order);
    assert_eq!(get_account(&app, &someone).await.status, 200, "nothing has gone");
    let cancel = app.post(format!("{order}/cancel")).bearer_auth(&token);
    assert_eq!(cancel.fetch().await.status, 200);

    let deleted = delete_account(&app, &someone).await;
    assert_eq!((deleted.status, &deleted.body), (204, &Value::Null));
    for path in ["/v1/me", "/v1/orders", "/v1/cart", "/v1/me/export"] {
        let answer = app.get(path).bearer_auth(&token).fetch().await;
        assert_eq!(answer.problem(), "401 unauthorized", "{path}");
    }
    // Nothing in the database's row leads to the person.
    let row: Value = sqlx::query_scalar("SELECT to_jsonb(users) FROM users WHERE id = $1")
        .bind(someone.id().0)
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
      "preferences": {},
      "role": "customer",
      "tokens_valid_from": "[time]",
      "updated_at": "[time]"
    }
    "#);
    for table in ["user_addresses", "user_identities"] {
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
    let id = order.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
    let order = app.orders.find(someone.id(), id).await.unwrap().unwrap();
    assert!(order.is_anonymous());
    assert_eq!(order.total_amount, 7_500, "the books are as they were");
    let items = app
        .dynamo
        .scan()
        .table_name(&app.sessions_table)
        .send()
        .await
        .unwrap();
    assert_eq!(items.count, 0, "the cart is gone");

    // The address is free again.
    let email = format!("{}@example.com", someone.id());
    sqlx::query(
        "INSERT INTO users (id, email, name, tokens_valid_from, created_at, updated_at)
         VALUES ($1, $2, 'Again', now(), now(), now())",
    )
    .bind(UserId::new(Clock::system().now()).0)
    .bind(email)
    .execute(&pool)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_order_that_is_being_paid_holds_its_account(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    let order = place_order(&app, &someone, "key").await;
    let id = order.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
    app.orders
        .claim_for_payment(someone.id(), id, &PaymentId("pi_1".to_owned()))
        .await
        .unwrap();
    assert_eq!(delete_account(&app, &someone).await.problem(), "409 order-open");
    let order = app.orders.find(someone.id(), id).await.unwrap().unwrap();
    assert!(!order.is_anonymous());
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_export_tells_everything_of_one_person_and_nothing_of_others(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (someone, other) = (app.customer().await, app.customer().await);
    place_order(&app, &other, "theirs").await;
    place_order(&app, &someone, "mine").await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let put = app
        .put(format!("/v1/cart/items/{bowl}"))
        .bearer_auth(someone.token())
        .json(&json!({"quantity": 3}));
    assert_eq!(put.fetch().await.status, 200);
    let address = json!({"recipient": "Hanako", "country": "JP", "postal_code": "150-0001",
                         "region": "Tokyo", "city": "Shibuya", "line1": "1-2-3"});
    app.post("/v1/me/addresses")
        .bearer_auth(someone.token())
        .json(&address)
        .fetch()
        .await;
    // What an administrator did to them is theirs to know; from where, is not.
    let role = app
        .put(format!("/v1/users/{}/role", someone.id()))
        .bearer_auth(&app.admin_token)
        .header("X-Forwarded-For", "203.0.113.99")
        .json(&json!({"role": "support"}));
    assert_eq!(role.fetch().await.status, 200);

    let export = app
        .get("/v1/me/export")
        .bearer_auth(someone.token())
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
        "preferences": {
          "language": "en",
          "order_mails": true
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
                "quantity": 1
              }
            ],
            "order_id": "[id]",
            "status": "pending",
            "total_amount": 7500,
            "updated_at": "[time]"
          },
          "payment_method": "pm_card_visa"
        }
      ]
    }
    "#);
    assert_eq!(
        export.body["audit"][0]["actor"],
        Value::Null,
        "another's name is not told"
    );
    assert_eq!(export.body["audit"][1]["actor"], json!(someone.id()));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn whoever_works_for_the_shop_has_an_account_like_everybody(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for role in [Role::Customer, Role::Support, Role::Admin] {
        let person = app.user_with_role(role).await;
        let account = get_account(&app, &person).await;
        assert_eq!(
            (account.status, account.body_str("role")),
            (200, role.to_string())
        );
        assert_eq!(delete_account(&app, &person).await.status, 204);
    }
}
