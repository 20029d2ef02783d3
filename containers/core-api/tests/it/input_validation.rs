//! What must not come in, and what is said about it. Nothing here may leave a trace in a store.

use std::fmt::Write;

use insta::{assert_json_snapshot, assert_snapshot};
use reqwest::{Body, Method};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    authentication::TestUser,
    support::{RequestBuilderExt, TestApp, TestResponse, new_customer},
};

/// Sends a body as it is to where orders are placed.
async fn post_order(
    app: &TestApp,
    person: &TestUser,
    content_type: Option<&str>,
    body: impl Into<Body>,
) -> TestResponse {
    let request = app
        .post("/v1/orders")
        .bearer_auth(person.token())
        .header("Idempotency-Key", "key");
    let request = match content_type {
        Some(content_type) => request.header("Content-Type", content_type),
        None => request,
    };
    request.body(body).fetch().await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn bodies_that_are_not_the_json_they_should_be(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    let (bowl, json) = (
        app.create_product("Tea bowl", 7_500).await,
        Some("application/json"),
    );
    let right = json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": "pm_card_visa"});
    let right = right.to_string();

    let mut table = String::new();
    for (case, content_type, body) in [
        ("empty", json, String::new()),
        ("cut off", json, right[..right.len() - 1].to_owned()),
        ("two values", json, format!("{right} {right}")),
        ("a lone surrogate", json, right.replace("visa", "\\ud800")),
        ("a comment", json, format!("{right} // really")),
        ("deeply nested arrays", json, "[".repeat(30_000)),
        ("deeply nested objects", json, r#"{"items":"#.repeat(5_000)),
        (
            "deep, but complete",
            json,
            format!("{{\"items\":{}{}}}", "[".repeat(500), "]".repeat(500)),
        ),
        ("65 KiB", json, format!("{right}{}", " ".repeat(65 * 1024))),
        ("no content type", None, right.clone()),
        (
            "a form",
            Some("application/x-www-form-urlencoded"),
            "items=1".to_owned(),
        ),
        ("text", Some("text/plain"), right.clone()),
        ("not quite JSON", Some("application/jsonp"), right.clone()),
        ("JSON elsewhere", Some("text/json+json"), right.clone()),
    ] {
        let answer = post_order(&app, &someone, content_type, body).await;
        writeln!(table, "{case:<22} {}", answer.problem()).unwrap();
    }
    assert_snapshot!(table, @r"
    empty                  400 malformed-json
    cut off                400 malformed-json
    two values             400 malformed-json
    a lone surrogate       400 malformed-json
    a comment              400 malformed-json
    deeply nested arrays   422 invalid-body : invalid type: sequence, expected an object
    deeply nested objects  422 invalid-body /items: invalid type: map, expected a sequence
    deep, but complete     422 invalid-body /items/0: invalid type: sequence, expected an object
    65 KiB                 413 body-too-large
    no content type        415 unsupported-media-type
    a form                 415 unsupported-media-type
    text                   415 unsupported-media-type
    not quite JSON         415 unsupported-media-type
    JSON elsewhere         415 unsupported-media-type
    ");
    let not_utf8 = [br#"{"payment_method":"pm_"#.as_slice(), &[0xFF], br#""}"#].concat();
    assert_eq!(
        post_order(&app, &someone, json, not_utf8).await.problem(),
        "400 malformed-json"
    );
    assert!(app.order_outbox_events().await.is_empty());

    let with_charset = post_order(&app, &someone, Some("application/json; charset=utf-8"), right).await;
    assert_eq!(with_charset.status, 202);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn orders_that_make_no_sense(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let line = |quantity: Value| json!({"items": [{"product_id": bowl, "quantity": quantity}], "payment_method": "pm_card_visa"});
    let lines = |count: usize| json!({"items": vec![json!({"product_id": bowl, "quantity": 1}); count], "payment_method": "pm_card_visa"});
    let paid_with =
        |method: Value| json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": method});
    let mut priced = line(json!(1));
    priced["items"][0]["price"] = json!(1);
    let mut totalled = line(json!(1));
    totalled["total_amount"] = json!(1);
    let mut for_another = line(json!(1));
    for_another["user_id"] = json!(new_customer().id());
    let mut named = line(json!(1));
    named["items"][0]["product_id"] = json!("tea-bowl");

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
        ("product not an id", named),
        ("price sent", priced),
        ("total sent", totalled),
        ("user sent", for_another),
        (
            "payment method missing",
            json!({"items": [{"product_id": bowl, "quantity": 1}]}),
        ),
        ("payment method empty", paid_with(json!("pm_"))),
        ("payment method odd", paid_with(json!("pm_card/../visa"))),
        (
            "payment method long",
            paid_with(json!(format!("pm_{}", "x".repeat(101)))),
        ),
        ("a card number", paid_with(json!("4242424242424242"))),
        (
            "a line as a list",
            json!({"items": [[bowl, 1]], "payment_method": "pm_card_visa"}),
        ),
        (
            "a list",
            json!([[{"product_id": bowl, "quantity": 1}], "pm_card_visa"]),
        ),
        ("null", Value::Null),
    ] {
        let answer = post_order(&app, &someone, Some("application/json"), body.to_string()).await;
        writeln!(table, "{case:<22} {}", answer.problem()).unwrap();
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
    total sent             422 invalid-body /total_amount: unknown field `total_amount`, expected `items` or `payment_method`
    user sent              422 invalid-body /user_id: unknown field `user_id`, expected `items` or `payment_method`
    payment method missing 422 invalid-body : missing field `payment_method`
    payment method empty   422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    payment method odd     422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    payment method long    422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    a card number          422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    a line as a list       422 invalid-body /items/0: invalid type: sequence, expected an object
    a list                 422 invalid-body : invalid type: sequence, expected an object
    null                   422 invalid-body : invalid type: null, expected an object
    "#);
    assert!(app.order_outbox_events().await.is_empty());
    let hundred = post_order(&app, &someone, Some("application/json"), lines(100).to_string()).await;
    assert_eq!(
        (hundred.status, &hundred.body["total_amount"]),
        (202, &json!(750_000))
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn orders_that_the_catalogue_does_not_allow(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    let (bowl, gift) = (
        app.create_product("Tea bowl", 7_500).await,
        app.create_product("Sticker", 0).await,
    );
    let pin = app.create_product("Pin", 49).await;
    let treasure = app.create_product("Treasure", 10_000_000).await;
    let gone = app.create_product("Sold for good", 1).await;
    let removal = app
        .delete(format!("/v1/products/{gone}"))
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
    let answer = post_order(&app, &someone, json, order(&[(&bowl, 1), (unknown, 1)])).await;
    assert_json_snapshot!(answer, @r#"
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
    let answer = post_order(
        &app,
        &someone,
        json,
        order(&[(unknown, 1), (&bowl, 1), (unknown, 2)]),
    )
    .await;
    assert_eq!(
        answer.body["errors"].as_array().unwrap().len(),
        2,
        "each line that names it"
    );
    let answer = post_order(&app, &someone, json, order(&[(&gone, 1)])).await;
    assert_eq!(answer.body["errors"][0]["pointer"], "/items/0/product_id");
    let mut table = String::new();
    for (case, lines) in [
        ("nothing to pay", vec![(gift.as_str(), 3)]),
        ("too little", vec![(pin.as_str(), 1)]),
        ("too much", vec![(treasure.as_str(), 10)]),
        (
            "too much by a yen",
            vec![(treasure.as_str(), 9), (bowl.as_str(), 1334)],
        ),
        ("beyond arithmetic", vec![(treasure.as_str(), 9_999); 100]),
    ] {
        let answer = post_order(&app, &someone, json, order(&lines)).await;
        writeln!(table, "{case:<18} {}", answer.problem()).unwrap();
    }
    assert_snapshot!(table, @r"
    nothing to pay     422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    too little         422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    too much           422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    too much by a yen  422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    beyond arithmetic  422 invalid-body /items: an order costs at least 50 and at most 99999999 yen
    ");
    assert!(app.order_outbox_events().await.is_empty());

    let nameless = someone.clone().with_claims(|claims| claims.email = None);
    assert_json_snapshot!(post_order(&app, &nameless, json, order(&[(&bowl, 1)])).await, @r#"
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
    let most = post_order(&app, &someone, json, order(&[(&treasure, 9), (&rest, 1)])).await;
    assert_eq!(
        (most.status, &most.body["total_amount"]),
        (202, &json!(99_999_999))
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn products_that_make_no_sense(pool: PgPool) {
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
        ("name with a bell", with("name", json!("ding\u{7}"))),
        ("name with NUL", with("name", json!("nul\0"))),
        ("long description", with("description", json!("x".repeat(4001)))),
        ("description with NUL", with("description", json!("nul\0"))),
        ("negative price", with("price", json!(-1))),
        ("price as text", with("price", json!("1"))),
        ("fractional price", with("price", json!(0.5))),
        ("endless price", with("price", json!(1_000_000_000_000_i64))),
        ("category with blanks", with("category", json!("tea ware"))),
        ("long category", with("category", json!("c".repeat(41)))),
        (
            "picture over http",
            with("image_url", json!("http://images.example/a.jpg")),
        ),
        (
            "picture as script",
            with("image_url", json!("javascript:alert(1)")),
        ),
        (
            "picture with password",
            with("image_url", json!("https://user:secret@images.example/")),
        ),
        ("odd language", with("translations", json!({"日本語": texts}))),
        ("eleven languages", with("translations", languages)),
        (
            "long translation",
            with(
                "translations",
                json!({"ja": {"name": "あ".repeat(201), "description": ""}}),
            ),
        ),
        (
            "half a translation",
            with("translations", json!({"ja": {"name": "茶碗"}})),
        ),
        ("a currency", with("currency", json!("JPY"))),
        (
            "an id of its own",
            with("id", json!("00000000-0000-7000-8000-000000000000")),
        ),
    ] {
        let answer = app
            .post("/v1/products")
            .bearer_auth(&app.admin_token)
            .json(&body)
            .fetch()
            .await;
        writeln!(table, "{case:<22} {}", answer.problem()).unwrap();
    }
    assert_snapshot!(table, @r#"
    no name                422 invalid-body /name: expected 1 to 200 characters on one line
    long name              422 invalid-body /name: expected 1 to 200 characters on one line
    name with a bell       422 invalid-body /name: expected 1 to 200 characters on one line
    name with NUL          422 invalid-body /name: expected 1 to 200 characters on one line
    long description       422 invalid-body /description: expected at most 4000 characters, and no control characters but line feeds
    description with NUL   422 invalid-body /description: expected at most 4000 characters, and no control characters but line feeds
    negative price         422 invalid-body /price: an amount cannot be negative
    price as text          422 invalid-body /price: invalid type: string "1", expected i64
    fractional price       422 invalid-body /price: invalid type: floating point `0.5`, expected i64
    endless price          422 invalid-body /price: an amount cannot exceed 999999999999 minor units
    category with blanks   422 invalid-body /category: expected a slug of 1 to 40 lower-case letters, digits and hyphens
    long category          422 invalid-body /category: expected a slug of 1 to 40 lower-case letters, digits and hyphens
    picture over http      422 invalid-body /image_url: expected an https URL of at most 2048 characters, without a password
    picture as script      422 invalid-body /image_url: expected an https URL of at most 2048 characters, without a password
    picture with password  422 invalid-body /image_url: expected an https URL of at most 2048 characters, without a password
    odd language           422 invalid-body /translations/日本語: expected a BCP 47 language tag such as ja or pt-BR
    eleven languages       422 invalid-body /translations: expected at most 10 languages
    long translation       422 invalid-body /translations/ja/name: expected 1 to 200 characters on one line
    half a translation     422 invalid-body /translations/ja: missing field `description`
    a currency             422 invalid-body /currency: unknown field `currency`, expected one of `name`, `description`, `translations`, `price`, `category`, `image_url`
    an id of its own       422 invalid-body /id: unknown field `id`, expected one of `name`, `description`, `translations`, `price`, `category`, `image_url`
    "#);
    assert!(app.product_outbox_events().await.is_empty());
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_frameworks_own_refusals_are_problems_too(pool: PgPool) {
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
        let answer = app
            .request(method.clone(), path)
            .bearer_auth(&token)
            .fetch()
            .await;
        let allow = answer.headers.get("allow").and_then(Value::as_str).unwrap_or("-");
        writeln!(
            table,
            "{method} {path}\n    {} | allow: {allow}",
            answer.problem()
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
