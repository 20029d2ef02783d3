//! The HTTP API: parses, calls, answers. It holds no SQL and no call of an SDK.

mod account;
mod account_response;
mod addresses;
mod admin;
mod authorization;
mod carts;
mod error;
mod extract;
mod merge_patch;
mod openapi;
mod order_response;
mod orders;
mod page_size;
mod products;
mod rate_limit;
mod response_cache;
mod search_term;

use std::{ops::Deref, sync::Arc};

use ::orders::Orders;
use axum::{
    Router,
    extract::FromRef,
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use http_server::{LoadShedLayer, Problem, TrustedProxies};
use tokens::TokenVerifier;
use users::Users;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    accounts::AccountStatusCache, carts::Carts, catalog::Catalog, order_service::OrderService,
    rate_limit::RateLimiter,
};
use error::ApiError;
use rate_limit::RateLimitLayer;
use response_cache::ResponseCache;

pub use self::{extract::IdempotencyKey, merge_patch::ProductPatch};

/// What the handlers work with.
#[derive(Debug)]
pub struct AppState {
    /// What people mean to buy.
    pub carts: Carts,
    /// Products.
    pub catalog: Catalog,
    /// Where orders are placed.
    pub order_service: OrderService,
    /// How much anybody may ask for.
    pub rate_limiter: RateLimiter,
    /// Where orders are kept.
    pub orders: Orders,
    /// What may be believed about where a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// How the accounts of those who ask stand.
    pub account_status: AccountStatusCache,
    /// People's accounts.
    pub users: Users,
    /// Who may come in.
    pub verifier: TokenVerifier,
}

/// The routes' state: axum copies it several times for each request.
#[derive(Clone)]
struct SharedState(Arc<AppState>);

impl Deref for SharedState {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

/// Lets a handler ask for a part of [`AppState`].
macro_rules! impl_from_ref {
    ($($part:ident: $type:ty),+) => {$(
        impl FromRef<SharedState> for $type {
            fn from_ref(app: &SharedState) -> Self {
                app.$part.clone()
            }
        }
    )+};
}

impl_from_ref!(
    carts: Carts,
    catalog: Catalog,
    order_service: OrderService,
    orders: Orders,
    trusted_proxies: TrustedProxies,
    account_status: AccountStatusCache,
    users: Users,
    verifier: TokenVerifier
);

/// What the page to try the API may do: run and show what comes with it, and ask the API. It styles itself as it goes.
const DOCS_CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Every route of the API, its description at `/openapi.json` and a page to try it at `/docs`, with room for so many
/// requests at once and within the limits of those who ask.
pub fn routes(app: AppState) -> Router {
    let (routes, document) = build_router();
    let docs = Router::from(SwaggerUi::new("/docs").url("/openapi.json", document));
    let throttle = RateLimitLayer::new(
        app.rate_limiter.clone(),
        app.trusted_proxies.clone(),
        app.verifier.clone(),
    );
    routes
        .with_state(SharedState(Arc::new(app)))
        .merge(docs.layer(map_response(map_docs_errors)))
        .layer((LoadShedLayer::default(), throttle))
}

/// The page's own routes tell in plain text that a file is not there.
async fn map_docs_errors(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return Problem::not_found().into_response();
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, DOCS_CONTENT_SECURITY_POLICY);
    // Whoever has them asks whether they still hold: they are another program's after the next release.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The OpenAPI 3.1 document.
#[must_use]
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    build_router().1
}

fn build_router() -> (Router<SharedState>, utoipa::openapi::OpenApi) {
    let catalogue = OpenApiRouter::new()
        .routes(routes!(products::list_products, products::create_product))
        .routes(routes!(
            products::read_product,
            products::update_product,
            products::delete_product
        ))
        .routes(routes!(products::list_categories))
        .route_layer(from_fn_with_state(
            Arc::<ResponseCache>::default(),
            response_cache::cache_responses,
        ));
    let (routes, mut document) = OpenApiRouter::with_openapi(openapi::ApiDocument::openapi())
        .merge(catalogue)
        .routes(routes!(orders::list_orders, orders::place_order))
        .routes(routes!(orders::read_order))
        .routes(routes!(orders::cancel_order))
        .routes(routes!(carts::read_cart))
        .routes(routes!(carts::put_item, carts::remove_item))
        .routes(routes!(carts::checkout))
        .routes(routes!(
            account::read_account,
            account::update_account,
            account::delete_account
        ))
        .routes(routes!(account::export_account))
        .routes(routes!(addresses::list_addresses, addresses::add_address))
        .routes(routes!(
            addresses::read_address,
            addresses::replace_address,
            addresses::remove_address
        ))
        .routes(routes!(admin::list_users))
        .routes(routes!(admin::read_user))
        .routes(routes!(admin::change_role))
        .routes(routes!(admin::list_audit_log))
        .split_for_parts();
    openapi::add_shared_problems(&mut document);
    (routes, document)
}
