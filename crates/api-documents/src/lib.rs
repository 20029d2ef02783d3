//! The OpenAPI documents in `docs`, put together from the operations that each service declares.

use utoipa::openapi::OpenApi;

/// All committed documents: the file, relative to the root of the repository, and its content.
#[must_use]
pub fn documents() -> [(&'static str, OpenApi); 2] {
    [
        ("docs/openapi.json", public_api()),
        (
            "docs/openapi-stock-service.json",
            stock_service::http::openapi_document(),
        ),
    ]
}

/// The public API: core-api and the auth functions, behind one API gateway.
#[must_use]
pub fn public_api() -> OpenApi {
    let mut document = core_api::http::openapi_document();
    document.info.title = "Matsuri".to_owned();
    document.merge(auth::openapi_document());
    document
}
