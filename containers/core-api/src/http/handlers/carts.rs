//! `/v1/cart`: the cart of a user, or the anonymous cart that a `Cart-Token` identifies.

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use domain::{ProductId, Quantity, UserId};
use http_server::{Json, Path, Problem, TraceContext};
use serde::Deserialize;
use serde_json::json;
use tokens::Permission;
use utoipa::ToSchema;

use crate::{
    accounts::AuthenticatedUser,
    carts::{Cart, CartError, CartId, CartToken, CheckoutError, CheckoutRequest, PricedCart},
    http::{
        ApiError, SharedState,
        extractors::{Authorized, CartTokenHeader, IdempotencyKey, permission, require_buyer},
        handlers::orders::total_changed,
        responses::{cart::CartResponse, order::OrderResponse},
    },
    order_service::{MAX_TOTAL, MIN_TOTAL, OrderError},
};

const CART_TOKEN: HeaderName = HeaderName::from_static("cart-token");

const CART_FULL: &str =
    "`cart-full`: the cart of the Cart-Token does not fit into the caller's cart; nothing has changed";

/// The quantity of a product in a cart.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantityRequest {
    /// The number of units.
    #[schema(value_type = u32, minimum = 1, maximum = 9999, example = 2)]
    quantity: Quantity,
}

/// The owner of the cart that a request is about.
#[derive(Debug)]
pub enum CartOwner {
    /// An authenticated user.
    User(AuthenticatedUser),
    /// An unauthenticated client, whose cart is identified by the `Cart-Token` header.
    Guest,
}

impl FromRequestParts<SharedState> for CartOwner {
    type Rejection = Problem;

    /// Rejects a request with an invalid access token instead of treating it as a guest's.
    async fn from_request_parts(parts: &mut Parts, app: &SharedState) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let Authorized(user, ..) =
                Authorized::<permission::PlaceOrders>::from_request_parts(parts, app).await?;
            Ok(Self::User(user))
        } else {
            Ok(Self::Guest)
        }
    }
}

/// Returns the cart, with current prices and availability.
///
/// When an authenticated request has a Cart-Token, the API first merges that anonymous cart into the caller's
/// cart. If they do not fit together, both stay as they are; each can be read by itself.
#[utoipa::path(
    get, path = "/v1/cart", tag = "Cart", security((), ("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "The token of an anonymous cart")),
    responses(
        (status = 200, description = "The cart", body = CartResponse),
        (status = 409, description = CART_FULL, body = openapi::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn read_cart(
    State(app): State<SharedState>,
    owner: CartOwner,
    CartTokenHeader(token): CartTokenHeader,
) -> Result<Json<CartResponse>, ApiError> {
    let cart = match (owner, token) {
        (CartOwner::User(user), token) => app.carts.read(&user_cart(&app, user.id, token).await?).await?,
        (CartOwner::Guest, Some(token)) => app.carts.find_by_token(&token).await?.unwrap_or_default(),
        (CartOwner::Guest, None) => Cart::default(),
    };
    Ok(Json(cart_response(&app, &cart, None).await?))
}

/// Sets the quantity of a product in the cart.
///
/// An unauthenticated request without a valid Cart-Token creates an anonymous cart and returns its token.
#[utoipa::path(
    put, path = "/v1/cart/items/{product_id}", tag = "Cart", security((), ("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("product_id" = uuid::Uuid, Path, description = "The id of the product"),
           ("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "The token of an anonymous cart")),
    request_body = QuantityRequest,
    responses(
        (status = 200, description = "The changed cart", body = CartResponse,
         headers(("Cart-Token" = String,
                  description = "The token of the cart; only when this request created the cart"))),
        (status = 409, description = "`cart-full`: the cart contains 50 products already, or the cart of the \
                                      Cart-Token does not fit into the caller's cart; nothing has changed",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn put_item(
    State(app): State<SharedState>,
    owner: CartOwner,
    CartTokenHeader(token): CartTokenHeader,
    Path(product_id): Path<ProductId>,
    Json(QuantityRequest { quantity }): Json<QuantityRequest>,
) -> Result<impl IntoResponse, ApiError> {
    if app.catalog.find_prices(&[product_id]).await?.is_empty() {
        return Err(Problem::not_found().into());
    }
    let (id, new_token) = match (owner, token) {
        (CartOwner::User(user), token) => (user_cart(&app, user.id, token).await?, None),
        (CartOwner::Guest, Some(token)) if app.carts.find_by_token(&token).await?.is_some() => {
            (CartId::for_token(&token), None)
        }
        // Only this service issues tokens: a forged or expired token does not create a cart.
        (CartOwner::Guest, _) => {
            let token = CartToken::generate();
            (CartId::for_token(&token), Some(token.expose()))
        }
    };
    let cart = app
        .carts
        .update_with(&id, |cart| cart.set_quantity(product_id, quantity))
        .await?;
    let mut headers = HeaderMap::new();
    if let Some(token) = &new_token {
        let value = HeaderValue::from_str(token).expect("base64url is a valid header value");
        headers.insert(CART_TOKEN, value);
    }
    Ok((headers, Json(cart_response(&app, &cart, new_token).await?)))
}

/// Removes a product from the cart. The operation is idempotent.
#[utoipa::path(
    delete, path = "/v1/cart/items/{product_id}", tag = "Cart", security((), ("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("product_id" = uuid::Uuid, Path, description = "The id of the product"),
           ("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "The token of an anonymous cart")),
    responses(
        (status = 204, description = "The product is not in the cart"),
        (status = 409, description = CART_FULL, body = openapi::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn remove_item(
    State(app): State<SharedState>,
    owner: CartOwner,
    CartTokenHeader(token): CartTokenHeader,
    Path(product_id): Path<ProductId>,
) -> Result<StatusCode, ApiError> {
    let id = match (owner, token) {
        (CartOwner::User(user), token) => Some(user_cart(&app, user.id, token).await?),
        (CartOwner::Guest, Some(token)) => {
            let cart = app.carts.find_by_token(&token).await?;
            cart.map(|_| CartId::for_token(&token))
        }
        (CartOwner::Guest, None) => None,
    };
    if let Some(id) = id {
        let remove = |cart: &mut Cart| {
            cart.remove(product_id);
            Ok(())
        };
        app.carts.update_with(&id, remove).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Orders the products in the caller's cart at current prices and removes them from the cart.
///
/// The order is accepted but not yet paid; read it to follow its status. If it fails, its products are in the
/// cart again. Repeating the request with the same Idempotency-Key returns the same order, whatever the cart
/// contains by then. The limits of `POST /v1/orders` apply.
#[utoipa::path(
    post, path = "/v1/cart/checkout", tag = "Cart", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, pattern = "^[ -~]{1,255}$",
            description = "Identifies this request when it is repeated, for 24 hours: 1 to 255 printable \
                           ASCII characters"),
           ("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "The token of an anonymous cart to merge into the caller's cart before the \
                           checkout")),
    request_body = CheckoutRequest,
    responses(
        (status = 202, description = "The accepted order", body = OrderResponse,
         headers(("Location" = String, description = "The path of the order"))),
        (status = 409, description = "Nothing was ordered, and the cart is unchanged. `cart-empty`: the cart is \
                                      empty. `products-unavailable`: the products in `product_ids` were \
                                      removed from the catalog. `insufficient-stock`: the products in \
                                      `product_ids` are not in stock; `cart` is the present cart. \
                                      `total-changed`: the total is not `expected_total`; `cart` is the \
                                      present cart. `total-out-of-range`: an order cannot have this total. \
                                      `too-many-units`: the account can order at most `max_units` units at \
                                      once. `too-many-open-orders`: the account has `max_open_orders` open \
                                      orders. \
                                      `cart-full`: the cart of the Cart-Token does not fit into the \
                                      caller's cart",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn checkout(
    State(app): State<SharedState>,
    Authorized(user, ..): Authorized<permission::PlaceOrders>,
    IdempotencyKey(key): IdempotencyKey,
    CartTokenHeader(token): CartTokenHeader,
    TraceContext(trace): TraceContext,
    Json(request): Json<CheckoutRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let buyer = require_buyer(user)?;
    user_cart(&app, buyer.id, token).await?;
    let order = app
        .order_service
        .checkout(&app.carts, buyer, request, &key, trace)
        .await?;
    let location = [(header::LOCATION, format!("/v1/orders/{}", order.order_id))];
    Ok((StatusCode::ACCEPTED, location, Json(OrderResponse::from(order))))
}

/// The id of a user's cart. First returns the lines of failed orders to it, and merges the anonymous cart
/// that the request names.
async fn user_cart(
    app: &SharedState,
    user_id: UserId,
    anonymous: Option<CartToken>,
) -> Result<CartId, ApiError> {
    let id = CartId::for_user(user_id);
    app.carts.restore_failed_orders(&app.orders, user_id).await?;
    if let Some(token) = anonymous {
        app.carts.merge_anonymous(&id, &token).await?;
    }
    Ok(id)
}

/// The cart with the current names, prices and availability of its products.
async fn cart_response(
    app: &SharedState,
    cart: &Cart,
    cart_token: Option<String>,
) -> Result<CartResponse, ApiError> {
    let priced = PricedCart::load(cart, &app.catalog).await?;
    Ok(CartResponse {
        cart_token,
        ..priced.into()
    })
}

impl From<CartError> for ApiError {
    fn from(error: CartError) -> Self {
        match error {
            CartError::Full(full) => Problem::new(StatusCode::CONFLICT, "cart-full", "Cart is full")
                .detail(format!("{full}."))
                .into(),
            CartError::Contended => Problem::dependency_unavailable(&error).into(),
            CartError::DynamoDb(error) => error.into(),
        }
    }
}

/// The request body has no lines, so unavailable products and a total out of range are a conflict with the
/// cart and not an invalid body.
impl From<CheckoutError> for ApiError {
    fn from(error: CheckoutError) -> Self {
        let conflict = |slug, title| Problem::new(StatusCode::CONFLICT, slug, title);
        let problem = match error {
            CheckoutError::Empty => conflict("cart-empty", "Cart is empty")
                .detail("Add items to the cart first. Checkout removes the items that were ordered."),
            CheckoutError::Withdrawn(products) => {
                conflict("products-unavailable", "Some products are no longer available")
                    .detail("Remove the products that `product_ids` lists from the cart and try again.")
                    .extension("product_ids", json!(products))
            }
            CheckoutError::InsufficientStock(cart) => {
                let products: Vec<ProductId> = cart.short_lines().map(|line| line.product_id).collect();
                conflict("insufficient-stock", "Some products are not in stock")
                    .detail(
                        "The products that `product_ids` lists are not in stock in the requested quantity. \
                         Reduce or remove them; `cart` is the present cart.",
                    )
                    .extension("product_ids", json!(products))
                    .extension("cart", json!(CartResponse::from(cart)))
            }
            CheckoutError::TotalChanged(cart) => total_changed()
                .detail("Nothing was ordered. `cart` is the present cart.")
                .extension("cart", json!(CartResponse::from(cart))),
            CheckoutError::Order(OrderError::TotalOutOfRange) => {
                conflict("total-out-of-range", "Order total out of range").detail(format!(
                    "An order costs at least {MIN_TOTAL} and at most {MAX_TOTAL} yen."
                ))
            }
            CheckoutError::Order(error) => return error.into(),
            CheckoutError::Cart(error) => return error.into(),
        };
        problem.into()
    }
}
