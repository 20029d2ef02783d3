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
mod views;

use std::{ops::Deref, sync::Arc};

use ::orders::Orders;
use access_tokens::Verifier;
use axum::{
    Router,
    extract::FromRef,
    http::StatusCode,
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use users::Users;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;
use web::Problem;

use crate::{carts::Carts, catalogue::Catalogue, ordering::Checkout, people::Standings};
use cache::Cache;
use error::ApiError;

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
    /// Where orders are kept.
    pub orders: Orders,
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
    standings: Standings,
    users: Users,
    verifier: Verifier
);

/// Every route of the API, its description at `/openapi.json` and a page to try it at `/docs`.
pub fn routes(app: App) -> Router {
    let (routes, document) = described();
    let docs = Router::from(SwaggerUi::new("/docs").url("/openapi.json", document));
    routes
        .with_state(SharedApp(Arc::new(app)))
        .merge(docs.layer(map_response(explained)))
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
