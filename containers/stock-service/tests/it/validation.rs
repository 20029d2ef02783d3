//! Validation and authorisation: requests that are rejected before they reach the engine.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{TestApp, new_id, problem_slug, send_and_parse};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_reservations(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product_with_stock(10).await;
    let line = json!({"product_id": product, "quantity": 1});
    let reservation = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({"reservation_id": new_id(), "items": [line], "expires_in_seconds": 60});
        change(&mut body);
        body
    };
    let quantity = |value: Value| reservation(&|body| body["items"][0]["quantity"] = value.clone());
    let expiry = |value: Value| reservation(&|body| body["expires_in_seconds"] = value.clone());

    // Body, and the JSON pointer of the error.
    let invalid = [
        (reservation(&|body| body["items"] = json!([])), "/items"),
        (
            reservation(&|body| body["items"] = Value::Array(vec![line.clone(); 101])),
            "/items",
        ),
        (reservation(&|body| body["items"] = json!({})), "/items"),
        (
            reservation(&|body| body["items"][0] = json!([product, 1])),
            "/items/0",
        ),
        (
            reservation(&|body| body["items"][0]["product_id"] = json!("lantern")),
            "/items/0/product_id",
        ),
        (
            reservation(&|body| body["items"][0]["price"] = json!(1)),
            "/items/0/price",
        ),
        (
            reservation(&|body| body["reservation_id"] = json!(7)),
            "/reservation_id",
        ),
        (reservation(&|body| body["customer"] = json!("me")), "/customer"),
        (quantity(json!(0)), "/items/0/quantity"),
        (quantity(json!(-1)), "/items/0/quantity"),
        (quantity(json!(10_000)), "/items/0/quantity"),
        (quantity(json!(1.5)), "/items/0/quantity"),
        (quantity(json!("1")), "/items/0/quantity"),
        (quantity(json!(99_999_999_999_999_999_i64)), "/items/0/quantity"),
        (expiry(json!(0)), "/expires_in_seconds"),
        (expiry(json!(-5)), "/expires_in_seconds"),
        (expiry(json!(604_801)), "/expires_in_seconds"),
    ];
    for (body, pointer) in invalid {
        let (code, problem) = app.post("/v1/reservations", body.clone()).await;
        assert_eq!(
            (code.as_u16(), problem_slug(&problem)),
            (422, "invalid-body"),
            "{body}: {problem}"
        );
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    for body in [
        reservation(&|_| {}),
        reservation(&|body| body["expires_in_seconds"] = Value::Null),
        reservation(&|body| drop(body.as_object_mut().unwrap().remove("expires_in_seconds"))),
        expiry(json!(604_800)),
    ] {
        let (code, response) = app.post("/v1/reservations", body).await;
        assert_eq!(code, 201, "{response}");
    }
    assert_eq!(app.stock_level(product).await, (10, 4));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_adjustments(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product_with_stock(10).await;
    let path = format!("/v1/stock/{product}/adjustments");
    let invalid = [
        (json!(0), json!("counted"), "/delta"),
        (json!(1_000_001), json!("counted"), "/delta"),
        (json!(-1_000_001), json!("counted"), "/delta"),
        (json!(i64::MIN), json!("counted"), "/delta"),
        (json!(0.5), json!("counted"), "/delta"),
        (json!(1), json!(""), "/reason"),
        (json!(1), json!("x".repeat(501)), "/reason"),
        // PostgreSQL would reject it, and with it the whole batch.
        (json!(1), json!("counted\u{0}"), "/reason"),
        (json!(1), json!(null), "/reason"),
    ];
    for (delta, reason, pointer) in invalid {
        let body = json!({"adjustment_id": new_id(), "delta": delta, "reason": reason});
        let (code, problem) = app.post(&path, body.clone()).await;
        assert_eq!(
            (code.as_u16(), problem_slug(&problem)),
            (422, "invalid-body"),
            "{body}: {problem}"
        );
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    let kanji = json!({"adjustment_id": new_id(), "delta": 1_000_000, "reason": "入".repeat(500)});
    assert_eq!(app.post(&path, kanji).await.0, 201);
    assert_eq!(app.stock_level(product).await, (1_000_010, 0));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn returns_problem_documents_for_malformed_requests(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let send = async |method: Method, path: &str, content_type: &str, body: String| {
        let request = app.request(method, path).bearer_auth(app.token());
        let (code, problem) = send_and_parse(request.header("content-type", content_type).body(body)).await;
        assert!(problem["type"].is_string(), "{code}: {problem}");
        (code.as_u16(), problem_slug(&problem).to_owned())
    };
    let json_body = json!({"reservation_id": new_id(), "items": []}).to_string();
    let reservations = "/v1/reservations";
    let deep = "[".repeat(10_000);
    let large = format!("{{\"items\": \"{}\"}}", "x".repeat(70_000));
    let table = [
        send(Method::POST, reservations, "application/json", "{".into()).await,
        send(Method::POST, reservations, "application/json", String::new()).await,
        send(Method::POST, reservations, "application/json", deep).await,
        send(Method::POST, reservations, "application/json", large).await,
        send(Method::POST, reservations, "text/plain", json_body).await,
        send(Method::DELETE, reservations, "application/json", String::new()).await,
        send(
            Method::GET,
            "/v1/reservations/lantern",
            "application/json",
            String::new(),
        )
        .await,
        send(
            Method::POST,
            "/v1/reservations/lantern/commit",
            "application/json",
            String::new(),
        )
        .await,
        send(
            Method::GET,
            "/v1/stock/lantern",
            "application/json",
            String::new(),
        )
        .await,
        send(Method::GET, "/v1/nothing", "application/json", String::new()).await,
    ];
    let expected = [
        (400, "malformed-json"),
        (400, "malformed-json"),
        (422, "invalid-body"),
        (413, "body-too-large"),
        (415, "unsupported-media-type"),
        (405, "method-not-allowed"),
        (404, "not-found"),
        (404, "not-found"),
        (404, "not-found"),
        (404, "not-found"),
    ];
    assert_eq!(
        table.each_ref().map(|(code, slug)| (*code, slug.as_str())),
        expected
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn only_services_are_authorized(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product_with_stock(10).await;
    let id = new_id();
    let paths = [
        (Method::POST, "/v1/reservations".to_owned()),
        (Method::GET, format!("/v1/reservations/{id}")),
        (Method::POST, format!("/v1/reservations/{id}/commit")),
        (Method::POST, format!("/v1/reservations/{id}/release")),
        (Method::GET, format!("/v1/stock/{product}")),
        (Method::POST, format!("/v1/stock/{product}/adjustments")),
    ];
    for (method, path) in paths {
        let request = || app.request(method.clone(), &path);
        let responses = [
            send_and_parse(request()).await,
            send_and_parse(request().bearer_auth("nonsense")).await,
            send_and_parse(request().bearer_auth(app.token_with_role("customer"))).await,
            send_and_parse(request().bearer_auth(app.token_with_role("admin"))).await,
        ];
        let codes = responses
            .each_ref()
            .map(|(code, problem)| (code.as_u16(), problem_slug(problem)));
        let (unauthorized, forbidden) = ((401, "unauthorized"), (403, "forbidden"));
        assert_eq!(
            codes,
            [unauthorized, unauthorized, forbidden, forbidden],
            "{method} {path}"
        );
    }
    assert_eq!(
        app.get(&format!("/v1/reservations/{id}")).await.0,
        404,
        "no request was processed"
    );
}
