//! The HTTP API. Handlers parse a request, call a service or a store and build the response. SQL statements
//! and AWS SDK calls belong in the stores, not here.

mod api_document;
mod error;
mod extractors;
mod handlers;
mod middleware;
mod product_patch;
mod responses;

use std::{ops::Deref, sync::Arc};

use ::orders::Orders;
use axum::{
    Router,
    extract::FromRef,
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use http_server::{ConcurrencyLimit, OriginSecrets, Problem, TrustedProxies, require_cloudfront, shed_load};
use mail_suppressions::MailSuppressions;
use openapi::{COMMON_PROBLEMS, add_shared_problems};
use tokens::TokenVerifier;
use users::Users;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    accounts::AccountStatusCache, carts::Carts, catalog::Catalog, order_service::OrderService,
    phone_codes::PhoneCodes, rate_limit::RateLimiter, receipts::Receipts,
    unsubscribe_links::UnsubscribeLinks,
};
use api_document::{ApiDocument, SHARED_PROBLEMS};
use error::ApiError;
use handlers::{
    account, addresses, admin, carts, mail_suppression, orders, phone, products, realtime, unsubscribe,
};
use middleware::{
    rate_limit::limit_rate,
    response_cache::{ResponseCache, cache_responses},
};

pub use self::{extractors::IdempotencyKey, handlers::realtime::Realtime, product_patch::ProductPatch};

/// The services and stores that the handlers use.
#[derive(Debug)]
pub struct AppState {
    pub carts: Carts,
    pub catalog: Catalog,
    pub order_service: OrderService,
    pub rate_limiter: RateLimiter,
    pub receipts: Receipts,
    pub orders: Orders,
    pub realtime: Realtime,
    /// The proxies whose forwarded client IP is trusted.
    pub trusted_proxies: TrustedProxies,
    /// If set, requests without one of these secrets are refused: they did not come through CloudFront.
    pub required_origin_secrets: Option<OriginSecrets>,
    pub account_status: AccountStatusCache,
    pub mail_suppressions: MailSuppressions,
    pub phone_codes: PhoneCodes,
    pub unsubscribe_links: UnsubscribeLinks,
    pub users: Users,
    /// Verifies the access tokens of users.
    pub verifier: TokenVerifier,
}

/// The router's state. It is an `Arc` because axum clones the state several times per request.
#[derive(Clone)]
struct SharedState(Arc<AppState>);

impl Deref for SharedState {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

/// Lets a handler extract a single field of [`AppState`] with `State`.
macro_rules! impl_from_ref {
    ($($field:ident: $type:ty),+) => {$(
        impl FromRef<SharedState> for $type {
            fn from_ref(app: &SharedState) -> Self {
                app.$field.clone()
            }
        }
    )+};
}

impl_from_ref!(
    carts: Carts,
    catalog: Catalog,
    mail_suppressions: MailSuppressions,
    order_service: OrderService,
    orders: Orders,
    realtime: Realtime,
    receipts: Receipts,
    trusted_proxies: TrustedProxies,
    account_status: AccountStatusCache,
    users: Users,
    verifier: TokenVerifier
);

/// The `Content-Security-Policy` of Swagger UI: it may load its own assets and call this API. Inline styles
/// are allowed because Swagger UI sets styles at run time.
const DOCS_CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// All routes of the API, the OpenAPI document at `/openapi.json` and Swagger UI at `/docs`, behind rate
/// limiting and load shedding, and closed to requests that did not come through CloudFront if it is required.
pub fn routes(app: AppState) -> Router {
    let (routes, document) = build_router();
    let docs = Router::from(SwaggerUi::new("/docs").url("/openapi.json", document));
    let required_origin_secrets = app.required_origin_secrets.clone();
    let app = SharedState(Arc::new(app));
    let router = routes
        .with_state(app.clone())
        .merge(docs.layer(map_response(map_docs_errors)))
        .layer((
            from_fn_with_state(ConcurrencyLimit::default(), shed_load),
            from_fn_with_state(app, limit_rate),
        ));
    match required_origin_secrets {
        Some(secrets) => router.layer(from_fn_with_state(secrets, require_cloudfront)),
        None => router,
    }
}

/// Adds the security and caching headers to Swagger UI's responses, and replaces its plain-text 404 with a
/// problem document.
async fn map_docs_errors(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return Problem::not_found().into_response();
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, DOCS_CONTENT_SECURITY_POLICY);
    // The assets change with the next release, so browsers must revalidate them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The OpenAPI 3.1 document of the routes that core-api serves.
#[must_use]
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    build_router().1
}

fn build_router() -> (Router<SharedState>, utoipa::openapi::OpenApi) {
    let catalog = OpenApiRouter::new()
        .routes(routes!(products::list_products, products::create_product))
        .routes(routes!(
            products::read_product,
            products::update_product,
            products::delete_product
        ))
        .routes(routes!(products::list_categories))
        .route_layer(from_fn_with_state(
            Arc::<ResponseCache>::default(),
            cache_responses,
        ));
    let (routes, mut document) = OpenApiRouter::with_openapi(ApiDocument::openapi())
        .merge(catalog)
        .routes(routes!(orders::list_orders, orders::place_order))
        .routes(routes!(orders::read_order))
        .routes(routes!(orders::read_receipt))
        .routes(routes!(orders::cancel_order))
        .routes(routes!(orders::return_from_payment_action))
        .routes(routes!(realtime::issue_ticket))
        .routes(routes!(carts::read_cart))
        .routes(routes!(carts::put_item, carts::remove_item))
        .routes(routes!(carts::checkout))
        .routes(routes!(
            account::read_account,
            account::update_account,
            account::delete_account
        ))
        .routes(routes!(account::export_account))
        .routes(routes!(phone::request_phone_code, phone::remove_phone))
        .routes(routes!(phone::verify_phone))
        .routes(routes!(
            unsubscribe::show_unsubscribe_page,
            unsubscribe::unsubscribe
        ))
        .routes(routes!(addresses::list_addresses, addresses::add_address))
        .routes(routes!(
            addresses::read_address,
            addresses::replace_address,
            addresses::remove_address
        ))
        .routes(routes!(admin::list_users))
        .routes(routes!(admin::read_user))
        .routes(routes!(admin::change_role))
        .routes(routes!(
            mail_suppression::read_mail_suppression,
            mail_suppression::remove_mail_suppression
        ))
        .routes(routes!(admin::list_audit_log))
        .split_for_parts();
    for problems in [&COMMON_PROBLEMS[..], &SHARED_PROBLEMS] {
        add_shared_problems(&mut document, problems);
    }
    (routes, document)
}
