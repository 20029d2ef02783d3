//! Carts over HTTP: one's own when signed in, and otherwise that of the one who has its token.

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use domain::{Currency, ProductId, Quantity};
use http_server::{Json, Path, Problem, TraceContext};
use serde::{Deserialize, Serialize};
use tokens::Permission;
use utoipa::ToSchema;

use super::{
    ApiError, SharedState,
    authorization::{Authorized, permission, require_buyer},
    extract::{CartTokenHeader, IdempotencyKey},
    order_response::OrderResponse,
};
use crate::{
    accounts::AuthenticatedUser,
    carts::{Cart, CartId, CartToken},
    order_service::PaymentMethod,
};

const CART_TOKEN: HeaderName = HeaderName::from_static("cart-token");

/// A cart, at the prices of this moment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cart)]
pub struct CartResponse {
    /// What is in it: fifty products at most.
    items: Vec<CartItemResponse>,
    /// What the amounts are in (ISO 4217).
    #[schema(value_type = String, example = "JPY")]
    currency: Currency,
    /// What all that is still sold costs together, in minor units.
    #[schema(example = 15000)]
    total_amount: i64,
    /// What opens the cart from now on, for the header Cart-Token; only in the answer that it was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cart_token: Option<String>,
}

/// A product in a cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CartItem)]
struct CartItemResponse {
    /// Which product.
    #[schema(value_type = uuid::Uuid)]
    product_id: ProductId,
    /// Its English name; null when it is sold no more.
    #[schema(required)]
    product_name: Option<String>,
    /// How many pieces.
    #[schema(value_type = u32, minimum = 1, maximum = 9999)]
    quantity: Quantity,
    /// The price of one piece at this moment, in minor units; null when it is sold no more.
    #[schema(required, example = 7500)]
    price: Option<i64>,
    /// Whether so many pieces can be had.
    availability: Availability,
    /// How many of these pieces could be had at this moment.
    #[schema(minimum = 0, maximum = 9999)]
    available: u32,
}

/// Whether as many pieces can be had as are asked for. It is decided when the order's turn comes; this is a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Availability {
    /// All of them.
    InStock,
    /// Some of them.
    Insufficient,
    /// None.
    OutOfStock,
    /// The product is sold no more.
    Withdrawn,
}

/// How many pieces of a product a cart is to hold.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantityRequest {
    /// How many.
    #[schema(value_type = u32, minimum = 1, maximum = 9999, example = 2)]
    quantity: Quantity,
}

/// How a cart is paid.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutRequest {
    /// The payment provider's name of what pays.
    payment_method: PaymentMethod,
}

/// Whose cart it is.
#[derive(Debug)]
pub enum CartOwner {
    /// That of somebody who is signed in.
    User(AuthenticatedUser),
    /// That of whoever has its token.
    Guest,
}

impl FromRequestParts<SharedState> for CartOwner {
    type Rejection = Problem;

    /// Who shows a token is held to it: a bad one does not make a stranger.
    async fn from_request_parts(parts: &mut Parts, app: &SharedState) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let Authorized(person, ..) =
                Authorized::<permission::PlaceOrders>::from_request_parts(parts, app).await?;
            Ok(Self::User(person))
        } else {
            Ok(Self::Guest)
        }
    }
}

/// Reads a cart, at the prices and with the stock of this moment.
///
/// Somebody who is signed in and brings the token of a cart from before finds what was in it added to their own, once.
#[utoipa::path(
    get, path = "/v1/cart", tag = "Cart", security((), ("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "What opens the cart of somebody not signed in")),
    responses((status = 200, description = "The cart", body = CartResponse)),
)]
pub async fn read_cart(
    State(app): State<SharedState>,
    shopper: CartOwner,
    CartTokenHeader(token): CartTokenHeader,
) -> Result<Json<CartResponse>, ApiError> {
    let cart = match (shopper, token) {
        (CartOwner::User(person), token) => {
            let id = CartId::for_user(person.id);
            app.carts.finish_stale_checkout(&app.orders, person.id).await?;
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

/// Puts so many pieces of a product into a cart, however many were in it.
///
/// Somebody who is neither signed in nor brings the token of a cart is given a cart and its token.
#[utoipa::path(
    put, path = "/v1/cart/items/{product_id}", tag = "Cart", security((), ("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("product_id" = uuid::Uuid, Path, description = "The product"),
           ("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "What opens the cart of somebody not signed in")),
    request_body = QuantityRequest,
    responses(
        (status = 200, description = "The cart as it is now", body = CartResponse,
         headers(("Cart-Token" = String, description = "What opens the cart; only when it was made"))),
        (status = 409, description = "There are fifty products in it already", body = super::openapi::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn put_item(
    State(app): State<SharedState>,
    shopper: CartOwner,
    CartTokenHeader(token): CartTokenHeader,
    Path(product_id): Path<ProductId>,
    Json(QuantityRequest { quantity }): Json<QuantityRequest>,
) -> Result<impl IntoResponse, ApiError> {
    if app.catalog.find_prices(&[product_id]).await?.is_empty() {
        return Err(Problem::not_found().into());
    }
    let (id, made) = match (shopper, token) {
        (CartOwner::User(person), token) => {
            let id = CartId::for_user(person.id);
            if let Some(token) = token {
                app.carts.merge_anonymous(&id, &token).await?;
            }
            (id, None)
        }
        (CartOwner::Guest, Some(token)) if app.carts.find_by_token(&token).await?.is_some() => {
            (CartId::for_token(&token), None)
        }
        // A token is ours to make: what somebody made up, or has had for too long, opens nothing.
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
    if let Some(token) = &made
        && let Ok(value) = HeaderValue::from_str(token)
    {
        headers.insert(CART_TOKEN, value);
    }
    Ok((headers, Json(cart_response(&app, cart, made).await?)))
}

/// Takes a product out of a cart. Doing so twice changes nothing.
#[utoipa::path(
    delete, path = "/v1/cart/items/{product_id}", tag = "Cart", security((), ("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("product_id" = uuid::Uuid, Path, description = "The product"),
           ("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "What opens the cart of somebody not signed in")),
    responses((status = 204, description = "It is not in the cart")),
)]
pub async fn remove_item(
    State(app): State<SharedState>,
    shopper: CartOwner,
    CartTokenHeader(token): CartTokenHeader,
    Path(product_id): Path<ProductId>,
) -> Result<StatusCode, ApiError> {
    let id = match (shopper, token) {
        (CartOwner::User(person), token) => {
            let id = CartId::for_user(person.id);
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

/// Orders what is in one's cart, at the prices of the moment, and empties it of that.
///
/// The order is accepted, not yet paid: read it to see how it goes on. The same key again gives the same order,
/// whatever is in the cart by then.
#[utoipa::path(
    post, path = "/v1/cart/checkout", tag = "Cart", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, pattern = "^[ -~]{1,255}$",
            description = "The attempt's name, remembered for a day: 1 to 255 printable ASCII characters"),
           ("Cart-Token" = Option<String>, Header, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            description = "A cart from before, which is ordered with one's own")),
    request_body = CheckoutRequest,
    responses(
        (status = 202, description = "The order as it was accepted", body = OrderResponse,
         headers(("Location" = String, description = "Where the order is"))),
        (status = 409, description = "Cart is empty, is being ordered by another request, or holds what is sold no \
                                      more", body = super::openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn checkout(
    State(app): State<SharedState>,
    Authorized(person, ..): Authorized<permission::PlaceOrders>,
    IdempotencyKey(key): IdempotencyKey,
    CartTokenHeader(token): CartTokenHeader,
    TraceContext(trace): TraceContext,
    Json(CheckoutRequest { payment_method }): Json<CheckoutRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let buyer = require_buyer(person)?;
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

/// The cart with what the catalogue and the stock say of its products at this moment.
async fn cart_response(
    app: &SharedState,
    cart: Cart,
    cart_token: Option<String>,
) -> Result<CartResponse, ApiError> {
    let ids: Vec<ProductId> = cart.lines.iter().map(|line| line.product_id).collect();
    let (offers, stock) = tokio::try_join!(app.catalog.find_prices(&ids), app.catalog.available_stock(&ids))?;
    let items: Vec<CartItemResponse> = cart
        .lines
        .into_iter()
        .map(|line| {
            let offer = offers.get(&line.product_id);
            let wanted = line.quantity.get();
            let stocked = offer
                .and_then(|_| stock.get(&line.product_id))
                .copied()
                .unwrap_or(0);
            // No more is told of the stock than whoever asks means to buy.
            let available = u32::try_from(stocked.max(0)).unwrap_or(u32::MAX).min(wanted);
            let availability = match available {
                _ if offer.is_none() => Availability::Withdrawn,
                0 => Availability::OutOfStock,
                some if some < wanted => Availability::Insufficient,
                _ => Availability::InStock,
            };
            CartItemResponse {
                product_id: line.product_id,
                product_name: offer.map(|offer| offer.name.clone()),
                quantity: line.quantity,
                price: offer.map(|offer| offer.price.amount()),
                availability,
                available,
            }
        })
        .collect();
    // Fifty times the dearest product there can be is far from what an integer holds.
    let amount = |item: &CartItemResponse| item.price.unwrap_or(0) * i64::from(item.quantity.get());
    Ok(CartResponse {
        total_amount: items.iter().map(amount).sum(),
        items,
        currency: Currency::JPY,
        cart_token,
    })
}
