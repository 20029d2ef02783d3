//! The HTTP API: parses, calls, answers. It holds no SQL and no call of an SDK.

mod account_views;
mod addresses;
mod administration;
mod cache;
mod carts;
mod docs;
mod error;
mod extract;
mod limit;
mod me;
mod merge_patch;
mod orders;
mod permission;
mod products;
mod term;
mod throttle;
mod views;

use std::{ops::Deref, sync::Arc};

use ::orders::Orders;
use access_tokens::Verifier;
use axum::{
    Router,
    extract::FromRef,
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use users::Users;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;
use web::{Capacity, Problem, Proxies};

use crate::{carts::Carts, catalogue::Catalogue, limits::Limits, ordering::Checkout, people::Standings};
use cache::Cache;
use error::ApiError;
use throttle::Throttle;

pub use self::{extract::IdempotencyKey, merge_patch::ProductPatch};

/// What the handlers work with.
#[derive(Debug)]
pub struct App {
    /// What people mean to buy.
    pub carts: Carts,
    /// Products.
    pub catalogue: Catalogue,
    /// Where orders are placed.
    pub checkout: Checkout,
    /// How much anybody may ask for.
    pub limits: Limits,
    /// Where orders are kept.
    pub orders: Orders,
    /// What may be believed about where a request comes from.
    pub proxies: Proxies,
    /// How the accounts of those who ask stand.
    pub standings: Standings,
    /// People's accounts.
    pub users: Users,
    /// Who may come in.
    pub verifier: Verifier,
}

/// The routes' state: axum copies it several times for each request.
#[derive(Clone)]
struct SharedApp(Arc<App>);

impl Deref for SharedApp {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}

/// Lets a handler ask for a part of [`App`].
macro_rules! parts {
    ($($part:ident: $type:ty),+) => {$(
        impl FromRef<SharedApp> for $type {
            fn from_ref(app: &SharedApp) -> Self {
                app.$part.clone()
            }
        }
    )+};
}

parts!(
    carts: Carts,
    catalogue: Catalogue,
    checkout: Checkout,
    orders: Orders,
    proxies: Proxies,
    standings: Standings,
    users: Users,
    verifier: Verifier
);

/// What the page to try the API may do: run and show what comes with it, and ask the API. It styles itself as it goes.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Every route of the API, its description at `/openapi.json` and a page to try it at `/docs`, with room for so many
/// requests at once and within the limits of those who ask.
pub fn routes(app: App) -> Router {
    let (routes, document) = described();
    let docs = Router::from(SwaggerUi::new("/docs").url("/openapi.json", document));
    let throttle = Throttle::new(app.limits.clone(), app.proxies.clone(), app.verifier.clone());
    routes
        .with_state(SharedApp(Arc::new(app)))
        .merge(docs.layer(map_response(explained)))
        .layer((Capacity::default(), throttle))
}

/// The page's own routes tell in plain text that a file is not there.
async fn explained(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return Problem::not_found().into_response();
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, DOCS_POLICY);
    // Whoever has them asks whether they still hold: they are another program's after the next release.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The OpenAPI 3.1 document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    described().1
}

fn described() -> (Router<SharedApp>, utoipa::openapi::OpenApi) {
    let catalogue = OpenApiRouter::new()
        .routes(routes!(products::list_products, products::create_product))
        .routes(routes!(
            products::read_product,
            products::change_product,
            products::delete_product
        ))
        .routes(routes!(products::list_categories))
        .route_layer(from_fn_with_state(Arc::<Cache>::default(), cache::remember));
    let (routes, mut document) = OpenApiRouter::with_openapi(docs::Document::openapi())
        .merge(catalogue)
        .routes(routes!(orders::list_orders, orders::place_order))
        .routes(routes!(orders::read_order))
        .routes(routes!(orders::cancel_order))
        .routes(routes!(carts::read_cart))
        .routes(routes!(carts::put_item, carts::remove_item))
        .routes(routes!(carts::check_out))
        .routes(routes!(me::read_me, me::change_me, me::delete_me))
        .routes(routes!(me::export_me))
        .routes(routes!(addresses::list_addresses, addresses::add_address))
        .routes(routes!(
            addresses::read_address,
            addresses::replace_address,
            addresses::remove_address
        ))
        .routes(routes!(administration::list_users))
        .routes(routes!(administration::read_user))
        .routes(routes!(administration::change_role))
        .routes(routes!(administration::list_audit))
        .split_for_parts();
    docs::add_problems(&mut document);
    (routes, document)
}
