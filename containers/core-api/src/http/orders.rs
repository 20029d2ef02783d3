//! Orders over HTTP, each customer's own.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use domain::OrderId;
use http_server::{Json, Path, Problem, Query, TraceContext};
use orders::Orders;
use serde::Deserialize;
use tokens::Permission;

use super::{
    ApiError,
    authorization::{Authorized, permission, require_buyer},
    extract::IdempotencyKey,
    order_response::{OrderPage, OrderResponse},
    page_size::PageSize,
};
use crate::{
    cursor,
    order_service::{OrderRequest, OrderService},
};

/// Places an order.
///
/// Names and prices are the catalogue's of this moment. The order is accepted, not yet paid: read it to see
/// how it goes on. The same request with the same key is answered as it was at first.
#[utoipa::path(
    post, path = "/v1/orders", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, pattern = "^[ -~]{1,255}$",
            description = "The attempt's name, remembered for a day: 1 to 255 printable ASCII characters")),
    request_body = OrderRequest,
    responses((status = 202, description = "The order as it was accepted", body = OrderResponse,
               headers(("Location" = String, description = "Where the order is")))),
)]
pub async fn place_order(
    State(checkout): State<OrderService>,
    Authorized(customer, ..): Authorized<permission::PlaceOrders>,
    IdempotencyKey(key): IdempotencyKey,
    TraceContext(trace): TraceContext,
    Json(request): Json<OrderRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let order = checkout
        .place(require_buyer(customer)?, request, key, trace)
        .await?;
    let location = [(header::LOCATION, format!("/v1/orders/{}", order.order_id))];
    Ok((StatusCode::ACCEPTED, location, Json(OrderResponse::from(order))))
}

/// Reads an order, with every status it has had.
#[utoipa::path(
    get, path = "/v1/orders/{id}", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("id" = uuid::Uuid, Path, description = "The order")),
    responses((status = 200, description = "The order as it is now", body = OrderResponse)),
)]
pub async fn read_order(
    State(orders): State<Orders>,
    Authorized(customer, ..): Authorized<permission::PlaceOrders>,
    Path(id): Path<OrderId>,
) -> Result<Json<OrderResponse>, ApiError> {
    let order = orders
        .find(customer.id, id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(Json(OrderResponse::with_history(order)))
}

/// Which part of the customer's orders to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists the customer's orders, newest first.
#[utoipa::path(
    get, path = "/v1/orders", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(ListParameters),
    responses((status = 200, description = "A page of orders", body = OrderPage)),
)]
pub async fn list_orders(
    State(orders): State<Orders>,
    Authorized(customer, ..): Authorized<permission::PlaceOrders>,
    Query(ListParameters { limit, cursor }): Query<ListParameters>,
) -> Result<Json<OrderPage>, ApiError> {
    let list = ("orders of", customer.id);
    let from: Option<OrderId> = cursor.map(|cursor| cursor::decode(&list, &cursor)).transpose()?;
    let page = orders.list(customer.id, limit.get(), from).await?;
    Ok(Json(OrderPage {
        items: page.orders.into_iter().map(OrderResponse::from).collect(),
        next_cursor: page.next.map(|id| cursor::encode(&list, &id)),
    }))
}

/// Takes an order back, as long as nothing has been charged. Doing so twice changes nothing.
#[utoipa::path(
    post, path = "/v1/orders/{id}/cancel", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("id" = uuid::Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The order, cancelled", body = OrderResponse),
        (status = 409, description = "It has gone too far", body = super::openapi::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn cancel_order(
    State(checkout): State<OrderService>,
    Authorized(customer, ..): Authorized<permission::PlaceOrders>,
    Path(id): Path<OrderId>,
) -> Result<Json<OrderResponse>, ApiError> {
    let order = checkout.cancel(customer.id, id).await?;
    Ok(Json(OrderResponse::with_history(order)))
}
