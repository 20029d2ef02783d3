//! `/v1/orders`: the caller's orders.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use domain::{OrderId, OrderStatus};
use http_server::{FieldError, Json, Path, Problem, Query, TraceContext};
use orders::{CancelError, Orders, PlaceError};
use serde::Deserialize;
use serde_json::json;
use tokens::Permission;

use crate::{
    cursor,
    http::{
        ApiError,
        extractors::{Authorized, IdempotencyKey, PageSize, permission, require_buyer},
        responses::{
            order::{OrderPage, OrderResponse},
            receipt::ReceiptResponse,
        },
    },
    order_service::{MAX_TOTAL, MIN_TOTAL, OrderError, OrderRequest, OrderService, PaymentActionError},
    receipts::{ReceiptError, Receipts},
};

/// Places an order.
///
/// The order copies the current names and prices from the catalog. It is accepted but not yet paid; read it
/// to follow its status. Repeating the request with the same Idempotency-Key returns the same order. The
/// service can be configured to refuse accounts whose e-mail address is not verified (403
/// `email-not-verified`).
#[utoipa::path(
    post, path = "/v1/orders", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, pattern = "^[ -~]{1,255}$",
            description = "Identifies this request when it is repeated, for 24 hours: 1 to 255 printable \
                           ASCII characters")),
    request_body = OrderRequest,
    responses(
        (status = 202, description = "The accepted order", body = OrderResponse,
         headers(("Location" = String, description = "The path of the order"))),
        (status = 409, description = "`total-changed`: the total is not `expected_total`; `total` is the current \
                                      one. `too-many-units`: the account can order at most `max_units` units \
                                      at once. `too-many-open-orders`: the account has `max_open_orders` \
                                      open orders. `request-in-progress`: a request with the same \
                                      Idempotency-Key is in progress",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn place_order(
    State(order_service): State<OrderService>,
    Authorized(customer, ..): Authorized<permission::PlaceOrders>,
    IdempotencyKey(key): IdempotencyKey,
    TraceContext(trace): TraceContext,
    Json(request): Json<OrderRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let order = order_service
        .place(require_buyer(customer)?, request, key, trace)
        .await?;
    let location = [(header::LOCATION, format!("/v1/orders/{}", order.order_id))];
    Ok((StatusCode::ACCEPTED, location, Json(OrderResponse::from(order))))
}

/// Returns one of the caller's orders, including its status history.
#[utoipa::path(
    get, path = "/v1/orders/{id}", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("id" = uuid::Uuid, Path, description = "The id of the order")),
    responses((status = 200, description = "The order", body = OrderResponse)),
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
    Ok(Json(OrderResponse::for_customer(order)))
}

/// Returns a link to the receipt of one of the caller's completed orders.
///
/// The receipt is a simplified qualified invoice (適格簡易請求書), as PDF. It is written once, within seconds
/// of the order's completion, and never changes. Follow the link at once and do not store it: everyone who
/// has it can read the receipt for five minutes.
#[utoipa::path(
    get, path = "/v1/orders/{id}/receipt", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("id" = uuid::Uuid, Path, description = "The id of the order")),
    responses(
        (status = 200, description = "The link", body = ReceiptResponse),
        (status = 409, description = "`order-not-completed`: the order is `order_status`, and only completed orders \
                                      have a receipt. `receipt-not-ready`: the order has just completed; repeat \
                                      the request after `Retry-After` seconds",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn read_receipt(
    State(receipts): State<Receipts>,
    Authorized(customer, ..): Authorized<permission::PlaceOrders>,
    Path(id): Path<OrderId>,
) -> Result<Json<ReceiptResponse>, ApiError> {
    let link = receipts.link(customer.id, id).await?;
    Ok(Json(link.into()))
}

/// The page of the list of orders.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// The maximum number of orders in the page.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Lists the caller's orders, newest first.
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

/// Cancels one of the caller's orders, until its payment starts and while it has a `next_action`. The
/// operation is idempotent.
#[utoipa::path(
    post, path = "/v1/orders/{id}/cancel", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("id" = uuid::Uuid, Path, description = "The id of the order")),
    responses(
        (status = 200, description = "The cancelled order", body = OrderResponse),
        (status = 202, description = "The payment had a `next_action` and is being cancelled; read the order to \
                                      follow its status until it is `cancelled`", body = OrderResponse),
        (status = 409, description = "The order can no longer be cancelled",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn cancel_order(
    State(order_service): State<OrderService>,
    Authorized(customer, ..): Authorized<permission::PlaceOrders>,
    Path(id): Path<OrderId>,
) -> Result<(StatusCode, Json<OrderResponse>), ApiError> {
    let order = order_service.cancel(customer.id, id).await?;
    let status = match order.status {
        OrderStatus::Cancelled => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    Ok((status, Json(OrderResponse::with_history(order))))
}

/// Tells that the customer has returned from the `next_action` of one of the caller's orders.
///
/// The service then looks at the payment. It completes or fails the order, or, if the customer has not
/// finished, shows the `next_action` again. The payment provider's own message has the same effect; this
/// request makes up for one that is late.
#[utoipa::path(
    post, path = "/v1/orders/{id}/payment-action/return", tag = "Orders", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    params(("id" = uuid::Uuid, Path, description = "The id of the order")),
    responses(
        (status = 202, description = "The payment is being looked at; read the order to follow its status"),
        (status = 409, description = "`no-payment-action`: the order has no `next_action`",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn return_from_payment_action(
    State(order_service): State<OrderService>,
    Authorized(customer, ..): Authorized<permission::PlaceOrders>,
    Path(id): Path<OrderId>,
) -> Result<StatusCode, ApiError> {
    order_service.complete_payment_action(customer.id, id).await?;
    Ok(StatusCode::ACCEPTED)
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        let problem = match error {
            OrderError::UnknownProducts(lines) => {
                let errors: Vec<FieldError> = lines
                    .iter()
                    .map(|(line, id)| FieldError {
                        pointer: format!("/items/{line}/product_id"),
                        detail: format!("there is no product {id}"),
                    })
                    .collect();
                Problem::invalid_body(&errors)
            }
            OrderError::TotalChanged(total) => total_changed()
                .detail("The current total is `total`. Nothing was ordered.")
                .extension(
                    "total",
                    json!({"amount": total.amount(), "currency": total.currency()}),
                ),
            OrderError::TooManyUnits(max) => Problem::new(
                StatusCode::CONFLICT,
                "too-many-units",
                "Too many units in one order",
            )
            .detail(format!(
                "An order of this account can have at most {max} units in total. A verified e-mail address \
                 permits the most."
            ))
            .extension("max_units", max),
            OrderError::EmailNotVerified => Problem::new(
                StatusCode::FORBIDDEN,
                "email-not-verified",
                "E-mail address not verified",
            )
            .detail("Open the link in the mail that confirmed the registration, then order again."),
            OrderError::TotalOutOfRange => Problem::invalid_body(&[FieldError {
                pointer: "/items".to_owned(),
                detail: format!("an order costs at least {MIN_TOTAL} and at most {MAX_TOTAL} yen"),
            }]),
            OrderError::Place(error) => return error.into(),
            OrderError::Catalog(error) => return error.into(),
        };
        problem.into()
    }
}

/// 409: the prices have changed since the client read them.
pub(super) fn total_changed() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "total-changed",
        "The total is not the expected one",
    )
}

impl From<PlaceError> for ApiError {
    fn from(error: PlaceError) -> Self {
        let problem = match error {
            PlaceError::TooManyOpenOrders(max) => Problem::new(
                StatusCode::CONFLICT,
                "too-many-open-orders",
                "Too many open orders",
            )
            .detail(format!(
                "This account can have at most {max} open orders. Order again when one of them has ended. A \
                 verified e-mail address permits the most."
            ))
            .extension("max_open_orders", max)
            .header(header::RETRY_AFTER, HeaderValue::from_static("5")),
            PlaceError::KeyReused => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "Idempotency-Key reused with a different request",
            )
            .detail("Use a new key for a new request. Reuse a key only to repeat the same request."),
            PlaceError::InProgress => Problem::new(
                StatusCode::CONFLICT,
                "request-in-progress",
                "Request in progress",
            )
            .detail(
                "A request with this Idempotency-Key is still in progress. Repeat it in a moment to get its \
                 response.",
            )
            .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            PlaceError::Store(error) => return error.into(),
        };
        problem.into()
    }
}

impl From<CancelError> for ApiError {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::NotFound => Problem::not_found().into(),
            CancelError::TooLate(status) => Problem::new(
                StatusCode::CONFLICT,
                "too-late-to-cancel",
                "Order can no longer be cancelled",
            )
            .detail(format!("The order is {status}."))
            .extension("order_status", status.as_str())
            .into(),
            CancelError::Store(error) => error.into(),
        }
    }
}

impl From<PaymentActionError> for ApiError {
    fn from(error: PaymentActionError) -> Self {
        match error {
            PaymentActionError::NotFound => Problem::not_found().into(),
            PaymentActionError::NotAwaited => {
                Problem::new(StatusCode::CONFLICT, "no-payment-action", "No action is awaited")
                    .detail("The order does not wait for you to act. Read it to follow its status.")
                    .into()
            }
            PaymentActionError::Store(error) => error.into(),
        }
    }
}

impl From<ReceiptError> for ApiError {
    fn from(error: ReceiptError) -> Self {
        match error {
            ReceiptError::OrderNotFound => Problem::not_found().into(),
            ReceiptError::NotCompleted(status) => Problem::new(
                StatusCode::CONFLICT,
                "order-not-completed",
                "The order is not completed",
            )
            .detail(format!(
                "The order is {status}. Only completed orders have a receipt."
            ))
            .extension("order_status", status.as_str())
            .into(),
            ReceiptError::NotWritten => Problem::new(
                StatusCode::CONFLICT,
                "receipt-not-ready",
                "The receipt is not ready",
            )
            .detail("The order has just completed. Repeat the request in some seconds.")
            .header(header::RETRY_AFTER, HeaderValue::from_static("2"))
            .into(),
            ReceiptError::Orders(error) => error.into(),
            ReceiptError::Store(error) => Problem::dependency_unavailable(&error).into(),
        }
    }
}
