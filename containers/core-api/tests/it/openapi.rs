//! The OpenAPI document and the page that displays it.

use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

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
