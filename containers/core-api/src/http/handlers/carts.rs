//! `/v1/cart`: the cart of a user, or the anonymous cart that a `Cart-Token` identifies.

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use domain::{Currency, ProductId, Quantity};
use http_server::{Json, Path, Problem, TraceContext};
use serde::Deserialize;
use tokens::Permission;
use utoipa::ToSchema;

use crate::{
    accounts::AuthenticatedUser,
    carts::{Cart, CartId, CartToken},
    http::{
        ApiError, SharedState,
        extractors::{Authorized, CartTokenHeader, IdempotencyKey, permission, require_buyer},
        responses::{
            cart::{Availability, CartItemResponse, CartResponse},
            order::OrderResponse,
        },
    },
    order_service::PaymentMethod,
};

const CART_TOKEN: HeaderName = HeaderName::from_static("cart-token");

/// The quantity of a product in a cart.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantityRequest {
    /// The number of units.
    #[schema(value_type = u32, minimum = 1, maximum = 9999, example = 2)]
    quantity: Quantity,
}

/// The payment of a cart.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutRequest {
    /// The payment provider's id of the payment method.
    payment_method: PaymentMethod,
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
/// cart.
#[utoipa::path(
    get, path = "/v1/cart", tag = "Cart", security((), ("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "The token of an anonymous cart")),
    responses((status = 200, description = "The cart", body = CartResponse)),
)]
pub async fn read_cart(
    State(app): State<SharedState>,
    owner: CartOwner,
    CartTokenHeader(token): CartTokenHeader,
) -> Result<Json<CartResponse>, ApiError> {
    let cart = match (owner, token) {
        (CartOwner::User(user), token) => {
            let id = CartId::for_user(user.id);
            app.carts.finish_stale_checkout(&app.orders, user.id).await?;
            match token {
                Some(token) => app.carts.merge_anonymous(&id, &token).await?,
                None => app.carts.read(&id).await?,
            }
        }
        (CartOwner::Guest, Some(token)) => app.carts.find_by_token(&token).await?.unwrap_or_default(),
        (CartOwner::Guest, None) => Cart::default(),
    };
    Ok(Json(cart_response(&app, cart, None).await?))
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
        (status = 409, description = "The cart contains 50 products already",
         body = crate::http::openapi::Problem, content_type = "application/problem+json"),
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
        (CartOwner::User(user), token) => {
            let id = CartId::for_user(user.id);
            if let Some(token) = token {
                app.carts.merge_anonymous(&id, &token).await?;
            }
            (id, None)
        }
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
    Ok((headers, Json(cart_response(&app, cart, new_token).await?)))
}

/// Removes a product from the cart. The operation is idempotent.
#[utoipa::path(
    delete, path = "/v1/cart/items/{product_id}", tag = "Cart", security((), ("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("product_id" = uuid::Uuid, Path, description = "The id of the product"),
           ("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "The token of an anonymous cart")),
    responses((status = 204, description = "The product is not in the cart")),
)]
pub async fn remove_item(
    State(app): State<SharedState>,
    owner: CartOwner,
    CartTokenHeader(token): CartTokenHeader,
    Path(product_id): Path<ProductId>,
) -> Result<StatusCode, ApiError> {
    let id = match (owner, token) {
        (CartOwner::User(user), token) => {
            let id = CartId::for_user(user.id);
            if let Some(token) = token {
                app.carts.merge_anonymous(&id, &token).await?;
            }
            Some(id)
        }
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
/// The order is accepted but not yet paid; read it to follow its status. Repeating the request with the same
/// Idempotency-Key returns the same order, whatever the cart contains by then.
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
        (status = 409, description = "The cart is empty, another request is checking out the cart, some \
                                      products are no longer available, or the total is out of range",
         body = crate::http::openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn checkout(
    State(app): State<SharedState>,
    Authorized(user, ..): Authorized<permission::PlaceOrders>,
    IdempotencyKey(key): IdempotencyKey,
    CartTokenHeader(token): CartTokenHeader,
    TraceContext(trace): TraceContext,
    Json(CheckoutRequest { payment_method }): Json<CheckoutRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let buyer = require_buyer(user)?;
    if let Some(token) = token {
        app.carts
            .merge_anonymous(&CartId::for_user(buyer.id), &token)
            .await?;
    }
    let order = app
        .carts
        .checkout(
            &app.order_service,
            &app.orders,
            buyer,
            payment_method,
            &key,
            trace,
        )
        .await?;
    let location = [(header::LOCATION, format!("/v1/orders/{}", order.order_id))];
    Ok((StatusCode::ACCEPTED, location, Json(OrderResponse::from(order))))
}

/// The cart with the current names, prices and availability of its products.
async fn cart_response(
    app: &SharedState,
    cart: Cart,
    cart_token: Option<String>,
) -> Result<CartResponse, ApiError> {
    let ids: Vec<ProductId> = cart.lines.iter().map(|line| line.product_id).collect();
    let (products, stock) =
        tokio::try_join!(app.catalog.find_prices(&ids), app.catalog.available_stock(&ids))?;
    let items: Vec<CartItemResponse> = cart
        .lines
        .into_iter()
        .map(|line| {
            let product = products.get(&line.product_id);
            let requested = line.quantity.get();
            // A product without a stock row has no stock yet.
            let in_stock = product
                .and_then(|_| stock.get(&line.product_id))
                .copied()
                .unwrap_or(0);
            // The response does not disclose more of the stock level than the requested quantity.
            let available = u32::try_from(in_stock.clamp(0, i64::from(requested)))
                .expect("the value is at most the requested quantity");
            let availability = match available {
                _ if product.is_none() => Availability::Withdrawn,
                0 => Availability::OutOfStock,
                available if available < requested => Availability::Insufficient,
                _ => Availability::InStock,
            };
            CartItemResponse {
                product_id: line.product_id,
                product_name: product.map(|product| product.name.clone()),
                quantity: line.quantity,
                price: product.map(|product| product.price.amount()),
                availability,
                available,
            }
        })
        .collect();
    // 50 lines of 9,999 units at the maximum price (10^12) fit into an i64. A withdrawn product costs
    // nothing.
    let amount = |item: &CartItemResponse| item.price.unwrap_or(0) * i64::from(item.quantity.get());
    Ok(CartResponse {
        total_amount: items.iter().map(amount).sum(),
        items,
        currency: Currency::JPY,
        cart_token,
    })
}
