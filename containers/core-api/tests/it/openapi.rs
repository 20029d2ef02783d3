//! The OpenAPI document and the page that displays it.

use serde_json::Value;
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

const OPENAPI_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

/// To update the file: `cargo run --bin core-api openapi > docs/openapi.json`.
#[test]
fn committed_openapi_document_is_up_to_date() {
    let document = core_api::http::openapi_document().to_pretty_json().unwrap();
    let committed = std::fs::read_to_string(OPENAPI_FILE).unwrap();
    assert_eq!(committed.trim_end(), document, "docs/openapi.json is out of date");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn serves_the_openapi_document_and_swagger_ui(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let served = app.get("/openapi.json").fetch().await;
    assert_eq!(
        served.body,
        serde_json::to_value(core_api::http::openapi_document()).unwrap()
    );
    assert_eq!(served.body["openapi"], "3.1.0");

    let page = app.get("/docs/").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html");
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    for needed in [
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(needed), "{policy}");
    }
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui"));
    for script in page.split("<script").skip(1) {
        assert!(
            script.trim_start().starts_with("src=\"./"),
            "the content security policy blocks this script: {script}"
        );
    }
    let document = app.get("/openapi.json").send().await.unwrap();
    assert_eq!(
        document.headers()["cache-control"],
        "no-cache",
        "clients may cache it and must revalidate"
    );
    let script = app.get("/docs/swagger-ui-bundle.js").send().await.unwrap();
    assert_eq!(script.status(), 200, "the binary contains Swagger UI's script");
}

/// Every `$ref` resolves, and each operation documents its errors as problem documents.
#[test]
fn openapi_document_is_complete() {
    let document = serde_json::to_value(core_api::http::openapi_document()).unwrap();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} does not resolve"
        );
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            for (status, _) in responses.iter().filter(|(status, _)| status.starts_with('4')) {
                let content = resolve_response(&document, &responses[status]);
                assert!(
                    content["content"]["application/problem+json"].is_object(),
                    "{method} {path} {status}"
                );
            }
            let required: &[&str] = match (method.as_str(), operation.get("security").is_some()) {
                ("get", false) => &["200", "500", "503"],
                (_, false) => &["200", "400", "500", "503"],
                ("get", true) => &["200", "401", "403", "500", "503"],
                _ => &["401", "403", "500", "503"],
            };
            for status in required {
                assert!(
                    responses.contains_key(*status),
                    "{method} {path} does not document {status}"
                );
            }
        }
    }
}

fn resolve_response<'a>(document: &'a Value, response: &'a Value) -> &'a Value {
    match response["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => response,
    }
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members
                .values()
                .for_each(|member| collect_references(member, into));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, into)),
        _ => {}
    }
}
