//! The HTTP API: parses, calls, answers. It holds no SQL and no call of an SDK.

mod cache;
mod docs;
mod error;
mod extract;
mod limit;
mod merge_patch;
mod orders;
mod products;
mod views;

use ::orders::Orders;
use access_tokens::Verifier;
use axum::{
    Router,
    extract::FromRef,
    http::StatusCode,
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;
use web::Problem;

use crate::{catalogue::Catalogue, ordering::Checkout};
use cache::Cache;
use error::ApiError;

pub use self::{extract::IdempotencyKey, merge_patch::ProductPatch};

/// What the handlers work with. Cloning is cheap.
#[derive(Clone, Debug, FromRef)]
pub struct App {
    /// Products.
    pub catalogue: Catalogue,
    /// Where orders are placed.
    pub checkout: Checkout,
    /// Where orders are kept.
    pub orders: Orders,
    /// Who may come in.
    pub verifier: Verifier,
}

/// Every route of the API, its description at `/openapi.json` and a page to try it at `/docs`.
pub fn routes(app: App) -> Router {
    let (routes, document) = described();
    let docs = Router::from(SwaggerUi::new("/docs").url("/openapi.json", document));
    routes.with_state(app).merge(docs.layer(map_response(explained)))
}

/// The page's own routes tell in plain text that a file is not there.
async fn explained(response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        Problem::not_found().into_response()
    } else {
        response
    }
}

/// The OpenAPI 3.1 document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    described().1
}

fn described() -> (Router<App>, utoipa::openapi::OpenApi) {
    let catalogue = OpenApiRouter::new()
        .routes(routes!(products::list_products, products::create_product))
        .routes(routes!(
            products::read_product,
            products::change_product,
            products::delete_product
        ))
        .routes(routes!(products::list_categories))
        .route_layer(from_fn_with_state(Cache::default(), cache::remember));
    let (routes, mut document) = OpenApiRouter::with_openapi(docs::Document::openapi())
        .merge(catalogue)
        .routes(routes!(orders::list_orders, orders::place_order))
        .routes(routes!(orders::read_order))
        .routes(routes!(orders::cancel_order))
        .split_for_parts();
    docs::add_problems(&mut document);
    (routes, document)
}
