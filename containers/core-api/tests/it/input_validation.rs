//! Invalid requests and their problem documents. None of them may change stored data.

use std::fmt::Write;

use insta::{assert_json_snapshot, assert_snapshot};
use reqwest::{Body, Method};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, TestResponse},
    test_user::TestUser,
};

/// Sends a body unchanged to `POST /v1/orders`.
async fn post_order(
    app: &TestApp,
    user: &TestUser,
    content_type: Option<&str>,
    body: impl Into<Body>,
) -> TestResponse {
    let request = app
        .post("/v1/orders")
        .bearer_auth(user.token())
        .header("Idempotency-Key", "key");
    let request = match content_type {
        Some(content_type) => request.header("Content-Type", content_type),
        None => request,
    };
    request.body(body).fetch().await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_bodies_that_are_not_json(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let (bowl, json) = (
        app.create_product("Tea bowl", 7_500).await,
        Some("application/json"),
    );
    let valid = json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": "pm_card_visa"});
    let valid = valid.to_string();

    let mut table = String::new();
    for (case, content_type, body) in [
        ("empty", json, String::new()),
        ("truncated", json, valid[..valid.len() - 1].to_owned()),
        ("two values", json, format!("{valid} {valid}")),
        ("lone surrogate", json, valid.replace("visa", "\\ud800")),
        ("comment", json, format!("{valid} // really")),
        ("deeply nested arrays", json, "[".repeat(30_000)),
        ("deeply nested objects", json, r#"{"items":"#.repeat(5_000)),
        (
            "nested and complete",
            json,
            format!("{{\"items\":{}{}}}", "[".repeat(500), "]".repeat(500)),
        ),
        ("65 KiB", json, format!("{valid}{}", " ".repeat(65 * 1024))),
        ("no content type", None, valid.clone()),
        (
            "form",
            Some("application/x-www-form-urlencoded"),
            "items=1".to_owned(),
        ),
        ("text", Some("text/plain"), valid.clone()),
        ("application/jsonp", Some("application/jsonp"), valid.clone()),
        ("text/json+json", Some("text/json+json"), valid.clone()),
    ] {
        let response = post_order(&app, &user, content_type, body).await;
        writeln!(table, "{case:<22} {}", response.problem()).unwrap();
    }
    assert_snapshot!(table, @r"
    empty                  400 malformed-json
    truncated              400 malformed-json
    two values             400 malformed-json
    lone surrogate         400 malformed-json
    comment                400 malformed-json
    deeply nested arrays   422 invalid-body : invalid type: sequence, expected an object
    deeply nested objects  422 invalid-body /items: invalid type: map, expected a sequence
    nested and complete    422 invalid-body /items/0: invalid type: sequence, expected an object
    65 KiB                 413 body-too-large
    no content type        415 unsupported-media-type
    form                   415 unsupported-media-type
    text                   415 unsupported-media-type
    application/jsonp      415 unsupported-media-type
    text/json+json         415 unsupported-media-type
    ");
    let not_utf8 = [br#"{"payment_method":"pm_"#.as_slice(), &[0xFF], br#""}"#].concat();
    assert_eq!(
        post_order(&app, &user, json, not_utf8).await.problem(),
        "400 malformed-json"
    );
    assert!(app.order_outbox_events().await.is_empty());

    let with_charset = post_order(&app, &user, Some("application/json; charset=utf-8"), valid).await;
    assert_eq!(with_charset.status, 202);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_orders(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let order = |items: Value| json!({"items": items, "payment_method": "pm_card_visa"});
    let line = |quantity: Value| order(json!([{"product_id": bowl, "quantity": quantity}]));
    let lines = |count: usize| order(json!(vec![json!({"product_id": bowl, "quantity": 1}); count]));
    let paid_with =
        |method: Value| json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": method});
    let mut with_price = line(json!(1));
    with_price["items"][0]["price"] = json!(1);
    let mut with_total = line(json!(1));
    with_total["total_amount"] = json!(1);
    let mut with_user_id = line(json!(1));
    with_user_id["user_id"] = json!(TestUser::customer().id());
    let mut with_slug = line(json!(1));
    with_slug["items"][0]["product_id"] = json!("tea-bowl");

    let mut table = String::new();
    for (case, body) in [
        ("quantity 0", line(json!(0))),
        ("quantity negative", line(json!(-1))),
        ("quantity 10,000", line(json!(10_000))),
        (
            "quantity huge",
            line(serde_json::from_str("99999999999999999999999").unwrap()),
        ),
        ("quantity fractional", line(json!(1.5))),
        ("quantity as 1.0", line(json!(1.0))),
        ("quantity as text", line(json!("1"))),
        ("quantity null", line(Value::Null)),
        (
            "quantity missing",
            json!({"items": [{"product_id": bowl}], "payment_method": "pm_card_visa"}),
        ),
        ("no lines", lines(0)),
        ("101 lines", lines(101)),
        ("lines missing", json!({"payment_method": "pm_card_visa"})),
        (
            "lines not a list",
            json!({"items": {"product_id": bowl, "quantity": 1}, "payment_method": "pm_card_visa"}),
        ),
        ("product not an id", with_slug),
        ("price sent", with_price),
        ("total sent", with_total),
        ("user sent", with_user_id),
        (
            "payment method missing",
            json!({"items": [{"product_id": bowl, "quantity": 1}]}),
        ),
        ("payment method empty", paid_with(json!("pm_"))),
        ("payment method path", paid_with(json!("pm_card/../visa"))),
        (
            "payment method long",
            paid_with(json!(format!("pm_{}", "x".repeat(101)))),
        ),
        ("card number", paid_with(json!("4242424242424242"))),
        (
            "line as a list",
            json!({"items": [[bowl, 1]], "payment_method": "pm_card_visa"}),
        ),
        (
            "list",
            json!([[{"product_id": bowl, "quantity": 1}], "pm_card_visa"]),
        ),
        ("null", Value::Null),
    ] {
        let response = post_order(&app, &user, Some("application/json"), body.to_string()).await;
        writeln!(table, "{case:<22} {}", response.problem()).unwrap();
    }
    assert_snapshot!(table, @r#"
    quantity 0             422 invalid-body /items/0/quantity: a quantity is a whole number from 1 to 9999
    quantity negative      422 invalid-body /items/0/quantity: invalid value: integer `-1`, expected u32
    quantity 10,000        422 invalid-body /items/0/quantity: a quantity is a whole number from 1 to 9999
    quantity huge          422 invalid-body /items/0/quantity: invalid type: floating point `1e+23`, expected u32
    quantity fractional    422 invalid-body /items/0/quantity: invalid type: floating point `1.5`, expected u32
    quantity as 1.0        422 invalid-body /items/0/quantity: invalid type: floating point `1.0`, expected u32
    quantity as text       422 invalid-body /items/0/quantity: invalid type: string "1", expected u32
    quantity null          422 invalid-body /items/0/quantity: invalid type: null, expected u32
    quantity missing       422 invalid-body /items/0: missing field `quantity`
    no lines               422 invalid-body /items: expected 1 to 100 lines
    101 lines              422 invalid-body /items: expected 1 to 100 lines
    lines missing          422 invalid-body : missing field `items`
    lines not a list       422 invalid-body /items: invalid type: map, expected a sequence
    product not an id      422 invalid-body /items/0/product_id: UUID parsing failed: invalid character: found `t` at 0
    price sent             422 invalid-body /items/0/price: unknown field `price`, expected `product_id` or `quantity`
    total sent             422 invalid-body /total_amount: unknown field `total_amount`, expected one of `items`, `payment_method`, `expected_total`
    user sent              422 invalid-body /user_id: unknown field `user_id`, expected one of `items`, `payment_method`, `expected_total`
    payment method missing 422 invalid-body : missing field `payment_method`
    payment method empty   422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    payment method path    422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    payment method long    422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    card number            422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    line as a list         422 invalid-body /items/0: invalid type: sequence, expected an object
    list                   422 invalid-body : invalid type: sequence, expected an object
    null                   422 invalid-body : invalid type: null, expected an object
    "#);
    assert!(app.order_outbox_events().await.is_empty());
    let hundred_lines = post_order(&app, &user, Some("application/json"), lines(100).to_string()).await;
    assert_eq!(
        (hundred_lines.status, &hundred_lines.body["total_amount"]),
        (202, &json!(750_000))
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_orders_that_the_catalog_does_not_allow(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let (bowl, gift) = (
        app.create_product("Tea bowl", 7_500).await,
        app.create_product("Sticker", 0).await,
    );
    let pin = app.create_product("Pin", 49).await;
    let treasure = app.create_product("Treasure", 10_000_000).await;
    let removed = app.create_product("Removed", 1).await;
    let removal = app
        .delete(format!("/v1/products/{removed}"))
        .bearer_auth(&app.admin_token)
        .header("If-Match", "*");
    assert_eq!(removal.fetch().await.status, 204);
    let order = |lines: &[(&str, u32)]| {
        let items: Vec<_> = lines
            .iter()
            .map(|(id, quantity)| json!({"product_id": id, "quantity": quantity}))
            .collect();
        json!({"items": items, "payment_method": "pm_card_visa"}).to_string()
    };
    let json = Some("application/json");

    let unknown = "00000000-0000-7000-8000-000000000000";
    let response = post_order(&app, &user, json, order(&[(&bowl, 1), (unknown, 1)])).await;
    assert_json_snapshot!(response, @r#"
    {
      "status": 422,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "Correct the fields that `errors` lists and send the request again.",
        "errors": [
          {
            "detail": "there is no product 00000000-0000-7000-8000-000000000000",
            "pointer": "/items/1/product_id"
          }
        ],
        "status": 422,
        "title": "Invalid request body",
        "type": "https://matsuri.dev/problems/invalid-body"
      }
    }
    "#);
    let response = post_order(
        &app,
        &user,
        json,
        order(&[(unknown, 1), (&bowl, 1), (unknown, 2)]),
    )
    .await;
    assert_eq!(
        response.body["errors"].as_array().unwrap().len(),
        2,
        "one error for each line with the unknown product"
    );
    let response = post_order(&app, &user, json, order(&[(&removed, 1)])).await;
    assert_eq!(response.body["errors"][0]["pointer"], "/items/0/product_id");
    let mut table = String::new();
    for (case, lines) in [
        ("total of 0", vec![(gift.as_str(), 3)]),
        ("one yen too little", vec![(pin.as_str(), 1)]),
        ("too much", vec![(treasure.as_str(), 10)]),
        (
            "one yen too much",
            vec![(treasure.as_str(), 9), (bowl.as_str(), 1334)],
        ),
        ("overflow", vec![(treasure.as_str(), 9_999); 100]),
    ] {
        let response = post_order(&app, &user, json, order(&lines)).await;
        writeln!(table, "{case:<18} {}", response.problem()).unwrap();
    }
    assert_snapshot!(table, @r"
    total of 0         422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    one yen too little 422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    too much           422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    one yen too much   422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    overflow           422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    ");
    assert!(app.order_outbox_events().await.is_empty());

    let without_email = user.clone().with_claims(|claims| claims.email = None);
    assert_json_snapshot!(post_order(&app, &without_email, json, order(&[(&bowl, 1)])).await, @r#"
    {
      "status": 422,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "The access token has no e-mail address. Order mails need one.",
        "status": 422,
        "title": "E-mail address required",
        "type": "https://matsuri.dev/problems/email-required"
      }
    }
    "#);
    let rest = app.create_product("All but a yen", 9_999_999).await;
    let most = post_order(&app, &user, json, order(&[(&treasure, 9), (&rest, 1)])).await;
    assert_eq!(
        (most.status, &most.body["total_amount"]),
        (202, &json!(99_999_999))
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_products(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let with = |member: &str, value: Value| {
        let mut product = json!({"name": "Tea bowl", "description": "", "price": 1, "category": "bowls"});
        product[member] = value;
        product
    };
    let texts = json!({"name": "茶碗", "description": ""});
    let languages: Value = (0..11)
        .map(|n| (format!("en-{n:02}"), texts.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();

    let mut table = String::new();
    for (case, body) in [
        ("no name", with("name", json!(""))),
        ("long name", with("name", json!("あ".repeat(201)))),
        ("name with BEL", with("name", json!("ding\u{7}"))),
        ("name with NUL", with("name", json!("nul\0"))),
        ("long description", with("description", json!("x".repeat(4001)))),
        ("description with NUL", with("description", json!("nul\0"))),
        ("negative price", with("price", json!(-1))),
        ("price as text", with("price", json!("1"))),
        ("fractional price", with("price", json!(0.5))),
        ("price too large", with("price", json!(100_000_000))),
        ("unknown tax rate", with("tax_rate", json!("zero"))),
        ("category with blanks", with("category", json!("tea ware"))),
        ("long category", with("category", json!("c".repeat(41)))),
        (
            "image over http",
            with("image_url", json!("http://images.example/a.jpg")),
        ),
        ("image as script", with("image_url", json!("javascript:alert(1)"))),
        (
            "image with password",
            with("image_url", json!("https://user:secret@images.example/")),
        ),
        ("invalid language", with("translations", json!({"日本語": texts}))),
        ("eleven languages", with("translations", languages)),
        (
            "long translation",
            with(
                "translations",
                json!({"ja": {"name": "あ".repeat(201), "description": ""}}),
            ),
        ),
        (
            "partial translation",
            with("translations", json!({"ja": {"name": "茶碗"}})),
        ),
        ("currency", with("currency", json!("JPY"))),
        ("id", with("id", json!("00000000-0000-7000-8000-000000000000"))),
    ] {
        let response = app
            .post("/v1/products")
            .bearer_auth(&app.admin_token)
            .json(&body)
            .fetch()
            .await;
        writeln!(table, "{case:<22} {}", response.problem()).unwrap();
    }
    assert_snapshot!(table, @r#"
    no name                422 invalid-body /name: expected 1 to 200 characters on one line
    long name              422 invalid-body /name: expected 1 to 200 characters on one line
    name with BEL          422 invalid-body /name: expected 1 to 200 characters on one line
    name with NUL          422 invalid-body /name: expected 1 to 200 characters on one line
    long description       422 invalid-body /description: expected at most 4000 characters, and no control characters but line feeds
    description with NUL   422 invalid-body /description: expected at most 4000 characters, and no control characters but line feeds
    negative price         422 invalid-body /price: a price is at least 0 and at most 99999999 minor units
    price as text          422 invalid-body /price: invalid type: string "1", expected i64
    fractional price       422 invalid-body /price: invalid type: floating point `0.5`, expected i64
    price too large        422 invalid-body /price: a price is at least 0 and at most 99999999 minor units
    unknown tax rate       422 invalid-body /tax_rate: unknown variant `zero`, expected `standard` or `reduced`
    category with blanks   422 invalid-body /category: expected a slug of 1 to 40 lower-case letters, digits and hyphens
    long category          422 invalid-body /category: expected a slug of 1 to 40 lower-case letters, digits and hyphens
    image over http        422 invalid-body /image_url: expected an https URL of at most 2048 characters, without a password
    image as script        422 invalid-body /image_url: expected an https URL of at most 2048 characters, without a password
    image with password    422 invalid-body /image_url: expected an https URL of at most 2048 characters, without a password
    invalid language       422 invalid-body /translations/日本語: expected a BCP 47 language tag such as ja or pt-BR
    eleven languages       422 invalid-body /translations: expected at most 10 languages
    long translation       422 invalid-body /translations/ja/name: expected 1 to 200 characters on one line
    partial translation    422 invalid-body /translations/ja: missing field `description`
    currency               422 invalid-body /currency: unknown field `currency`, expected one of `name`, `description`, `translations`, `price`, `tax_rate`, `category`, `image_url`
    id                     422 invalid-body /id: unknown field `id`, expected one of `name`, `description`, `translations`, `price`, `tax_rate`, `category`, `image_url`
    "#);
    assert!(app.product_outbox_events().await.is_empty());
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn framework_errors_are_problem_documents(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    let mut table = String::new();
    for (method, path) in [
        (Method::GET, "/nothing/here"),
        (Method::GET, "/"),
        (Method::GET, "/v1/products/not-an-id"),
        (Method::GET, "/v1/products/%ff"),
        (Method::GET, "/v1/orders/not-an-id"),
        (Method::GET, "/v1/products/"),
        (Method::GET, "/docs/nothing-here"),
        (Method::PUT, "/v1/products"),
        (Method::DELETE, "/v1/orders"),
        (Method::POST, "/v1/orders/00000000-0000-7000-8000-000000000000"),
        (Method::POST, "/openapi.json"),
    ] {
        let response = app
            .request(method.clone(), path)
            .bearer_auth(&token)
            .fetch()
            .await;
        let allow = response
            .headers
            .get("allow")
            .and_then(Value::as_str)
            .unwrap_or("-");
        writeln!(
            table,
            "{method} {path}\n    {} | allow: {allow}",
            response.problem()
        )
        .unwrap();
    }
    assert_snapshot!(table, @r"
    GET /nothing/here
        404 not-found | allow: -
    GET /
        404 not-found | allow: -
    GET /v1/products/not-an-id
        404 not-found | allow: -
    GET /v1/products/%ff
        404 not-found | allow: -
    GET /v1/orders/not-an-id
        404 not-found | allow: -
    GET /v1/products/
        404 not-found | allow: -
    GET /docs/nothing-here
        404 not-found | allow: -
    PUT /v1/products
        405 method-not-allowed | allow: GET,HEAD,POST
    DELETE /v1/orders
        405 method-not-allowed | allow: GET,HEAD,POST
    POST /v1/orders/00000000-0000-7000-8000-000000000000
        405 method-not-allowed | allow: GET,HEAD
    POST /openapi.json
        405 method-not-allowed | allow: GET,HEAD
    ");
}
