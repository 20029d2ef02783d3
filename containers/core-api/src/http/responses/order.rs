//! Orders as JSON.

use domain::{
    Currency, CustomerSecret, FailureReason, OrderId, OrderStatus, PaymentAction, ProductId, Quantity,
    TaxRate, TaxTotal, Timestamp,
};
use orders::{Order, OrderItem};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::TaxRateSchema;

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
    /// The total price in minor units, tax included.
    #[schema(example = 15000)]
    total_amount: i64,
    /// The consumption tax that the total includes, for each rate of its lines.
    taxes: Vec<TaxTotalResponse>,
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
    /// What the customer must do before the payment is charged; absent in lists of orders, and when there is
    /// nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_action: Option<NextActionResponse>,
}

/// An action that the payment of an order requires of the customer, such as 3D Secure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextAction)]
struct NextActionResponse {
    /// The payment provider's name of the action.
    #[serde(rename = "type")]
    #[schema(example = "redirect_to_url")]
    kind: String,
    /// The page on which the customer acts. Absent if only the provider's browser library can show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uri", nullable = false)]
    redirect_url: Option<CustomerSecret>,
    /// The payment's secret for the provider's browser library. Neither store nor log it.
    #[schema(value_type = String)]
    client_secret: CustomerSecret,
    /// Afterwards the order fails.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
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
    /// The unit price in minor units when the order was placed, tax included.
    #[schema(example = 7500)]
    price: i64,
    /// The tax rate of the product when the order was placed.
    #[schema(value_type = TaxRateSchema)]
    tax_rate: TaxRate,
}

/// The lines of an order with the same tax rate. The tax is rounded down once, for their sum.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TaxTotal)]
struct TaxTotalResponse {
    #[schema(value_type = TaxRateSchema)]
    tax_rate: TaxRate,
    /// The rate in percent.
    #[schema(example = 10)]
    percent: u8,
    /// The sum of the lines in minor units, tax included.
    #[schema(example = 15000)]
    total_amount: i64,
    /// The tax in minor units that `total_amount` includes.
    #[schema(example = 1363)]
    tax_amount: i64,
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
    AuthenticationTimeout,
    InternalError,
}

impl OrderResponse {
    /// The order for its customer: including its status history and the action that its payment requires.
    pub fn for_customer(order: Order) -> Self {
        let next_action = order.payment_action.clone().zip(order.payment_action_expires_at);
        Self {
            next_action: next_action.map(|(action, expires_at)| NextActionResponse::new(action, expires_at)),
            ..Self::with_history(order)
        }
    }

    /// The order including its status history.
    pub fn with_history(order: Order) -> Self {
        let history = order
            .status_history()
            .map(|(status, at)| StatusChangeResponse { status, at });
        let history = Some(history.collect());
        Self {
            history,
            ..order.into()
        }
    }
}

impl From<Order> for OrderResponse {
    fn from(order: Order) -> Self {
        let taxes = order
            .tax_totals()
            .expect("orders are placed with prices of the catalog, whose totals are valid amounts")
            .into_iter()
            .map(TaxTotalResponse::from)
            .collect();
        Self {
            order_id: order.order_id,
            status: order.status,
            reason: order.reason,
            currency: order.currency,
            total_amount: order.total_amount,
            taxes,
            items: order.items.into_iter().map(OrderItemResponse::from).collect(),
            created_at: order.created_at,
            updated_at: order.updated_at,
            history: None,
            next_action: None,
        }
    }
}

impl From<TaxTotal> for TaxTotalResponse {
    fn from(TaxTotal { rate, total, tax }: TaxTotal) -> Self {
        Self {
            tax_rate: rate,
            percent: rate.percent(),
            total_amount: total.amount(),
            tax_amount: tax.amount(),
        }
    }
}

impl NextActionResponse {
    fn new(action: PaymentAction, expires_at: Timestamp) -> Self {
        Self {
            kind: action.kind,
            redirect_url: action.redirect_url,
            client_secret: action.client_secret,
            expires_at,
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
            tax_rate,
        }: OrderItem,
    ) -> Self {
        Self {
            product_id,
            product_name,
            quantity,
            price,
            tax_rate,
        }
    }
}
