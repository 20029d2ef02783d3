//! Products: create, read, change, remove.

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{RequestBuilderExt, TestApp, TestResponse};

fn kettle() -> Value {
    json!({
        "name": "Iron kettle, 1.2 l",
        "description": "Cast in one piece,\nfor stove and charcoal.",
        "translations": {"ja": {"name": "鉄瓶", "description": "一体鋳造です。"}},
        "price": 16_800,
        "category": "tea-ware",
        "image_url": "https://images.example/kettle.jpg",
    })
}

async fn patch_product(app: &TestApp, id: &str, etag: &str, patch: &Value) -> TestResponse {
    app.patch(format!("/v1/products/{id}"))
        .bearer_auth(&app.admin_token)
        .header("If-Match", etag)
        .header("Content-Type", "application/merge-patch+json")
        .body(patch.to_string())
        .fetch()
        .await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn creates_and_reads_a_product(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let added = app
        .post("/v1/products")
        .bearer_auth(&app.admin_token)
        .json(&kettle())
        .fetch()
        .await;
    assert_json_snapshot!(added, {
        ".headers.location" => "/v1/products/[id]", ".body.id" => "[id]",
        ".body.created_at" => "[time]", ".body.updated_at" => "[time]",
    }, @r#"
    {
      "status": 201,
      "headers": {
        "content-type": "application/json",
        "etag": "\"1\"",
        "location": "/v1/products/[id]"
      },
      "body": {
        "category": "tea-ware",
        "created_at": "[time]",
        "currency": "JPY",
        "description": "Cast in one piece,\nfor stove and charcoal.",
        "id": "[id]",
        "image_url": "https://images.example/kettle.jpg",
        "name": "Iron kettle, 1.2 l",
        "price": 16800,
        "tax_rate": "standard",
        "translations": {
          "ja": {
            "description": "一体鋳造です。",
            "name": "鉄瓶"
          }
        },
        "updated_at": "[time]"
      }
    }
    "#);
    let id = added.body_str("id");
    assert_eq!(added.header("location"), format!("/v1/products/{id}"));
    assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7);

    let read = app.get(added.header("location")).fetch().await;
    assert_eq!((read.status, &read.body), (200, &added.body));
    assert_eq!(read.header("etag"), "\"1\"");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn if_none_match_returns_304_for_the_current_version(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product_with(kettle()).await;
    let read = async |etag: &str| {
        app.get(format!("/v1/products/{id}"))
            .header("If-None-Match", etag)
            .fetch()
            .await
    };
    assert_json_snapshot!(read("\"1\"").await, @r#"
    {
      "status": 304,
      "headers": {
        "etag": "\"1\""
      },
      "body": null
    }
    "#);
    assert_eq!(read("W/\"1\"").await.status, 304, "If-None-Match compares weakly");
    assert_eq!(read("\"0\", \"1\"").await.status, 304);
    assert_eq!(read("\"2\"").await.status, 200);

    patch_product(&app, &id, "\"1\"", &json!({"price": 1})).await;
    assert_eq!(read("\"1\"").await.status, 200, "the product has changed");
    assert_eq!(read("\"2\"").await.status, 304);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn merge_patch_replaces_members_and_removes_null_members(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product_with(kettle()).await;
    let patch = json!({
        "price": 15_000,
        "image_url": null,
        "translations": {"ja": {"name": "南部鉄瓶"}, "fr": {"name": "Bouilloire", "description": ""}},
    });
    let changed = patch_product(&app, &id, "\"1\"", &patch).await;
    assert_json_snapshot!(changed, {
        ".body.id" => "[id]", ".body.created_at" => "[time]", ".body.updated_at" => "[time]",
    }, @r#"
    {
      "status": 200,
      "headers": {
        "content-type": "application/json",
        "etag": "\"2\""
      },
      "body": {
        "category": "tea-ware",
        "created_at": "[time]",
        "currency": "JPY",
        "description": "Cast in one piece,\nfor stove and charcoal.",
        "id": "[id]",
        "image_url": null,
        "name": "Iron kettle, 1.2 l",
        "price": 15000,
        "tax_rate": "standard",
        "translations": {
          "fr": {
            "description": "",
            "name": "Bouilloire"
          },
          "ja": {
            "description": "一体鋳造です。",
            "name": "南部鉄瓶"
          }
        },
        "updated_at": "[time]"
      }
    }
    "#);
    assert!(changed.body_str("updated_at") > changed.body_str("created_at"));
    assert_eq!(
        app.get(format!("/v1/products/{id}")).fetch().await.body,
        changed.body
    );

    let changed = patch_product(&app, &id, "\"2\"", &json!({"translations": {"fr": null}})).await;
    assert_eq!(
        changed.body["translations"],
        json!({"ja": {"name": "南部鉄瓶", "description": "一体鋳造です。"}})
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn change_requires_if_match_with_the_current_version(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product_with(kettle()).await;
    let product = format!("/v1/products/{id}");
    let price = json!({"price": 1});

    let without = app
        .patch(&product)
        .bearer_auth(&app.admin_token)
        .json(&price)
        .fetch()
        .await;
    assert_json_snapshot!(without, @r#"
    {
      "status": 428,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "Send the ETag of the version that you read in the header If-Match.",
        "status": 428,
        "title": "If-Match header required",
        "type": "https://matsuri.dev/problems/if-match-required"
      }
    }
    "#);
    let mut table = String::new();
    for etag in ["\"2\"", "W/\"1\"", "1", "nonsense"] {
        table += &format!(
            "{etag:<8} {}\n",
            patch_product(&app, &id, etag, &price).await.problem()
        );
    }
    let without = app.delete(&product).bearer_auth(&app.admin_token).fetch().await;
    table += &format!("removal  {}\n", without.problem());
    let stale = app
        .delete(&product)
        .bearer_auth(&app.admin_token)
        .header("If-Match", "\"9\"")
        .fetch()
        .await;
    table += &format!("removal  {}\n", stale.problem());
    assert_snapshot!(table, @r#"
    "2"      412 precondition-failed
    W/"1"    412 precondition-failed
    1        412 precondition-failed
    nonsense 412 precondition-failed
    removal  428 if-match-required
    removal  412 precondition-failed
    "#);
    assert_eq!(app.get(&product).fetch().await.header("etag"), "\"1\"");

    assert_eq!(
        patch_product(&app, &id, "\"0\", \"1\"", &price).await.status,
        200,
        "one of several ETags matches"
    );
    assert_eq!(
        patch_product(&app, &id, "*", &price).await.status,
        200,
        "* matches any version"
    );
    let read = app.get(&product).fetch().await;
    assert_eq!(read.header("etag"), "\"2\"", "the second patch changed nothing");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_patches(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product_with(kettle()).await;
    let mut table = String::new();
    for patch in [
        json!({"name": ""}),
        json!({"name": null}),
        json!({"price": -1}),
        json!({"currency": "USD"}),
        json!({"id": "00000000-0000-7000-8000-000000000000"}),
        json!({"translations": {"ja": {"name": "two\nlines"}}}),
        json!({"translations": {"de": {"name": "Kessel"}}}),
        json!([]),
        json!("a text"),
    ] {
        table += &format!(
            "{patch}\n    {}\n",
            patch_product(&app, &id, "\"1\"", &patch).await.problem()
        );
    }
    assert_snapshot!(table, @r#"
    {"name":""}
        422 invalid-body /name: expected 1 to 200 characters on one line
    {"name":null}
        422 invalid-body : missing field `name`
    {"price":-1}
        422 invalid-body /price: a price is at least 0 and at most 99999999 minor units
    {"currency":"USD"}
        422 invalid-body /currency: unknown field `currency`, expected one of `name`, `description`, `translations`, `price`, `tax_rate`, `category`, `image_url`
    {"id":"00000000-0000-7000-8000-000000000000"}
        422 invalid-body /id: unknown field `id`, expected one of `name`, `description`, `translations`, `price`, `tax_rate`, `category`, `image_url`
    {"translations":{"ja":{"name":"two\nlines"}}}
        422 invalid-body /translations/ja/name: expected 1 to 200 characters on one line
    {"translations":{"de":{"name":"Kessel"}}}
        422 invalid-body /translations/de: missing field `description`
    []
        422 invalid-body : invalid type: sequence, expected an object
    "a text"
        422 invalid-body : invalid type: string "a text", expected an object
    "#);
    let deeply_nested = format!("{{\"name\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let request = app
        .patch(format!("/v1/products/{id}"))
        .bearer_auth(&app.admin_token)
        .header("If-Match", "*");
    let response = request
        .header("Content-Type", "application/json")
        .body(deeply_nested)
        .fetch()
        .await;
    assert_eq!(
        response.problem(),
        "400 malformed-json",
        "the JSON parser limits nesting"
    );
    assert_eq!(
        app.get(format!("/v1/products/{id}")).fetch().await.header("etag"),
        "\"1\""
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn removed_product_is_gone_from_product_list_and_categories(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product_with(kettle()).await;
    let product = format!("/v1/products/{id}");
    let removed = app
        .delete(&product)
        .bearer_auth(&app.admin_token)
        .header("If-Match", "\"1\"")
        .fetch()
        .await;
    assert_json_snapshot!(removed, @r#"
    {
      "status": 204,
      "headers": {},
      "body": null
    }
    "#);

    assert_json_snapshot!(app.get(&product).fetch().await, @r#"
    {
      "status": 404,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "The resource does not exist, or you may not access it.",
        "status": 404,
        "title": "Not found",
        "type": "https://matsuri.dev/problems/not-found"
      }
    }
    "#);
    assert_eq!(
        patch_product(&app, &id, "*", &json!({"price": 1}))
            .await
            .problem(),
        "404 not-found"
    );
    let again = app
        .delete(&product)
        .bearer_auth(&app.admin_token)
        .header("If-Match", "*")
        .fetch()
        .await;
    assert_eq!(again.problem(), "404 not-found");
    assert_eq!(app.get("/v1/products").fetch().await.body["items"], json!([]));
    assert_eq!(app.get("/v1/categories").fetch().await.body["items"], json!([]));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_change_writes_one_event_and_rejected_changes_none(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let added = app
        .post("/v1/products")
        .bearer_auth(&app.admin_token)
        .header("traceparent", trace)
        .json(&kettle())
        .fetch()
        .await;
    let id = added.body_str("id");
    patch_product(&app, &id, "\"1\"", &json!({"price": 9_000})).await;
    patch_product(&app, &id, "\"1\"", &json!({"price": 1})).await;
    patch_product(&app, &id, "\"2\"", &json!({"price": -1})).await;
    app.delete(format!("/v1/products/{id}"))
        .bearer_auth(&app.admin_token)
        .header("If-Match", "\"2\"")
        .fetch()
        .await;

    let events = app.product_outbox_events().await;
    let summaries: Vec<_> = events
        .iter()
        .map(|(detail_type, detail)| {
            format!(
                "{detail_type} {} {}",
                detail["data"]["version"], detail["data"]["price"]
            )
        })
        .collect();
    assert_eq!(
        summaries,
        [
            "ProductCreated 1 16800",
            "ProductUpdated 2 9000",
            "ProductDeleted 3 null"
        ]
    );
    assert!(
        events
            .iter()
            .all(|(_, detail)| detail["correlation_id"] == id.as_str())
    );
    let traceparent = events[0].1["traceparent"].as_str().unwrap();
    assert_eq!(
        traceparent[..36],
        trace[..36],
        "the event belongs to the request's trace"
    );
    assert_json_snapshot!(events[0].1, {
        ".event_id" => "[id]", ".correlation_id" => "[id]", ".data.product_id" => "[id]",
        ".occurred_at" => "[time]", ".traceparent" => "[trace]",
    }, @r#"
    {
      "causation_id": null,
      "correlation_id": "[id]",
      "data": {
        "category": "tea-ware",
        "currency": "JPY",
        "description": "Cast in one piece,\nfor stove and charcoal.",
        "image_url": "https://images.example/kettle.jpg",
        "name": "Iron kettle, 1.2 l",
        "price": 16800,
        "product_id": "[id]",
        "translations": {
          "ja": {
            "description": "一体鋳造です。",
            "name": "鉄瓶"
          }
        },
        "version": 1
      },
      "event_id": "[id]",
      "occurred_at": "[time]",
      "schema_version": 1,
      "traceparent": "[trace]"
    }
    "#);
}
