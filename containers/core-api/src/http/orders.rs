//! Orders over HTTP, each customer's own.

use access_tokens::Permission;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use domain::OrderId;
use orders::Orders;
use serde::Deserialize;
use web::{Json, Path, Problem, Query, Trace};

use super::{
    ApiError,
    extract::IdempotencyKey,
    limit::Limit,
    permission::{May, buyer, needs},
    views::{OrderPage, OrderView},
};
use crate::{
    cursor,
    ordering::{Checkout, OrderRequest},
};

/// Places an order.
///
/// Names and prices are the catalogue's of this moment. The order is accepted, not yet paid: read it to see
/// how it goes on. The same request with the same key is answered as it was at first.
#[utoipa::path(
    post, path = "/v1/orders", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::Buy))),
    params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, pattern = "^[ -~]{1,255}$",
            description = "The attempt's name, remembered for a day: 1 to 255 printable ASCII characters")),
    request_body = OrderRequest,
    responses((status = 202, description = "The order as it was accepted", body = OrderView,
               headers(("Location" = String, description = "Where the order is")))),
)]
pub async fn place_order(
    State(checkout): State<Checkout>,
    May(customer, ..): May<needs::Buy>,
    IdempotencyKey(key): IdempotencyKey,
    Trace(trace): Trace,
    Json(request): Json<OrderRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let order = checkout.place(buyer(customer)?, request, key, trace).await?;
    let location = [(header::LOCATION, format!("/v1/orders/{}", order.order_id))];
    Ok((StatusCode::ACCEPTED, location, Json(OrderView::from(order))))
}

/// Reads an order, with every status it has had.
#[utoipa::path(
    get, path = "/v1/orders/{id}", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::Buy))),
    params(("id" = uuid::Uuid, Path, description = "The order")),
    responses((status = 200, description = "The order as it is now", body = OrderView)),
)]
pub async fn read_order(
    State(orders): State<Orders>,
    May(customer, ..): May<needs::Buy>,
    Path(id): Path<OrderId>,
) -> Result<Json<OrderView>, ApiError> {
    let order = orders
        .find(customer.id, id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(Json(OrderView::with_history(order)))
}

/// Which part of the customer's orders to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists the customer's orders, newest first.
#[utoipa::path(
    get, path = "/v1/orders", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::Buy))),
    params(ListParameters),
    responses((status = 200, description = "A page of orders", body = OrderPage)),
)]
pub async fn list_orders(
    State(orders): State<Orders>,
    May(customer, ..): May<needs::Buy>,
    Query(ListParameters { limit, cursor }): Query<ListParameters>,
) -> Result<Json<OrderPage>, ApiError> {
    let list = ("orders of", customer.id);
    let from: Option<OrderId> = cursor.map(|cursor| cursor::open(&list, &cursor)).transpose()?;
    let page = orders.list(customer.id, limit.get(), from).await?;
    Ok(Json(OrderPage {
        items: page.orders.into_iter().map(OrderView::from).collect(),
        next_cursor: page.next.map(|id| cursor::seal(&list, &id)),
    }))
}

/// Takes an order back, as long as nothing has been charged. Doing so twice changes nothing.
#[utoipa::path(
    post, path = "/v1/orders/{id}/cancel", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::Buy))),
    params(("id" = uuid::Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The order, cancelled", body = OrderView),
        (status = 409, description = "It has gone too far", body = super::docs::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn cancel_order(
    State(checkout): State<Checkout>,
    May(customer, ..): May<needs::Buy>,
    Path(id): Path<OrderId>,
) -> Result<Json<OrderView>, ApiError> {
    let order = checkout.cancel(customer.id, id).await?;
    Ok(Json(OrderView::with_history(order)))
}
