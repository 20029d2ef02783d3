//! Orders as JSON.

use domain::{Currency, FailureReason, OrderId, OrderStatus, ProductId, Quantity, Timestamp};
use orders::{Order, OrderItem, StatusChange};
use serde::Serialize;
use utoipa::ToSchema;

/// A page of the caller's orders, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPage {
    pub items: Vec<OrderResponse>,
    /// The cursor of the next page; null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub struct OrderResponse {
    #[schema(value_type = uuid::Uuid)]
    order_id: OrderId,
    /// The current status.
    #[schema(value_type = OrderStatusSchema)]
    status: OrderStatus,
    /// The reason of the failure; only present when the status is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = FailureReasonSchema, required = false)]
    reason: Option<FailureReason>,
    /// The currency of all amounts (ISO 4217).
    #[schema(value_type = String, example = "JPY")]
    currency: Currency,
    /// The total price in minor units.
    #[schema(example = 15000)]
    total_amount: i64,
    /// The lines as they were ordered.
    items: Vec<OrderItemResponse>,
    /// The time at which the order was placed.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The time of the last status change.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// All status changes, oldest first; absent in lists of orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    history: Option<Vec<StatusChangeResponse>>,
}

/// A line of an order. The product's name and price are copied when the order is placed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderItem)]
struct OrderItemResponse {
    #[schema(value_type = uuid::Uuid)]
    product_id: ProductId,
    /// The English name of the product when the order was placed.
    product_name: String,
    /// The number of units.
    #[schema(value_type = u32, minimum = 1, maximum = 9999)]
    quantity: Quantity,
    /// The unit price in minor units when the order was placed.
    #[schema(example = 7500)]
    price: i64,
}

/// A change of an order's status.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusChange)]
struct StatusChangeResponse {
    /// The new status.
    #[schema(value_type = OrderStatusSchema)]
    status: OrderStatus,
    /// The time of the change.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// The status of an order. `completed`, `failed` and `cancelled` are final.
#[derive(ToSchema)]
#[schema(as = OrderStatus, rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "the OpenAPI schema of domain::OrderStatus, whose crate does not depend on utoipa"
)]
enum OrderStatusSchema {
    Pending,
    Processing,
    Completed,
    Failed,
    Cancelled,
}

/// The reason why an order failed.
#[derive(ToSchema)]
#[schema(as = FailureReason, rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "the OpenAPI schema of domain::FailureReason, whose crate does not depend on utoipa"
)]
enum FailureReasonSchema {
    InsufficientStock,
    PaymentDeclined,
    InternalError,
}

impl OrderResponse {
    /// The order including its status history.
    pub fn with_history(order: Order) -> Self {
        let history = order
            .history
            .iter()
            .map(|&StatusChange { status, at }| StatusChangeResponse { status, at });
        let history = Some(history.collect());
        Self {
            history,
            ..order.into()
        }
    }
}

impl From<Order> for OrderResponse {
    fn from(order: Order) -> Self {
        Self {
            order_id: order.order_id,
            status: order.status,
            reason: order.reason,
            currency: order.currency,
            total_amount: order.total_amount,
            items: order.items.into_iter().map(OrderItemResponse::from).collect(),
            created_at: order.created_at,
            updated_at: order.updated_at,
            history: None,
        }
    }
}

impl From<OrderItem> for OrderItemResponse {
    fn from(
        OrderItem {
            product_id,
            product_name,
            quantity,
            price,
        }: OrderItem,
    ) -> Self {
        Self {
            product_id,
            product_name,
            quantity,
            price,
        }
    }
}
