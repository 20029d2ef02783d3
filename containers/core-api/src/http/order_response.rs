//! What goes out, as JSON.

use domain::{Currency, FailureReason, OrderId, OrderStatus, ProductId, Quantity, Timestamp};
use orders::{Order, OrderItem, StatusChange};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::{Category, Description, ImageUrl, Name, Price, Product, ProductDetails, Translations};

/// Some of the products.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductPage {
    /// The page.
    pub items: Vec<ProductResponse>,
    /// What to ask for the next page with; null when this is the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Some of a customer's orders, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPage {
    /// The page.
    pub items: Vec<OrderResponse>,
    /// What to ask for the next page with; null when this is the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub struct ProductResponse {
    /// Which.
    #[schema(value_type = uuid::Uuid)]
    id: ProductId,
    /// The English name.
    name: Name,
    /// The English description.
    description: Description,
    /// The texts in other languages, by BCP 47 tag.
    translations: Translations,
    /// What one piece costs, in minor units.
    price: Price,
    /// What the price is in (ISO 4217).
    #[schema(value_type = String, example = "JPY")]
    currency: Currency,
    /// The slug of its category.
    category: Category,
    /// Where its picture is.
    #[schema(required)]
    image_url: Option<ImageUrl>,
    /// When it came into the catalogue.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Product> for ProductResponse {
    fn from(product: Product) -> Self {
        let currency = product.currency();
        let ProductDetails {
            name,
            description,
            translations,
            price,
            category,
            image_url,
        } = product.details;
        Self {
            id: product.id,
            name,
            description,
            translations,
            price,
            currency,
            category,
            image_url,
            created_at: product.created_at,
            updated_at: product.updated_at,
        }
    }
}

/// A category that has products.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Category)]
pub struct CategoryResponse {
    /// Its name in addresses.
    pub slug: Category,
    /// How many products it has.
    #[schema(minimum = 1)]
    pub count: i64,
}

/// Every category that has products.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Categories)]
pub struct CategoriesResponse {
    /// By slug.
    pub items: Vec<CategoryResponse>,
}

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub struct OrderResponse {
    /// Which.
    #[schema(value_type = uuid::Uuid)]
    order_id: OrderId,
    /// Where it stands.
    #[schema(value_type = OrderStatusSchema)]
    status: OrderStatus,
    /// Why it failed; only there when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = FailureReasonSchema, required = false)]
    reason: Option<FailureReason>,
    /// What the amounts are in (ISO 4217).
    #[schema(value_type = String, example = "JPY")]
    currency: Currency,
    /// The whole price in minor units.
    #[schema(example = 15000)]
    total_amount: i64,
    /// The lines, as they were ordered.
    items: Vec<OrderItemResponse>,
    /// When it was placed.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its status changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Every status it has had, oldest first; only there when one order is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    history: Option<Vec<StatusChangeResponse>>,
}

/// A line of an order, with the product's name and price as they were when it was placed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderItem)]
struct OrderItemResponse {
    /// Which product.
    #[schema(value_type = uuid::Uuid)]
    product_id: ProductId,
    /// Its English name at that moment.
    product_name: String,
    /// How many pieces.
    #[schema(value_type = u32, minimum = 1, maximum = 9999)]
    quantity: Quantity,
    /// The price of one piece at that moment, in minor units.
    #[schema(example = 7500)]
    price: i64,
}

/// When an order came to a status.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusChange)]
struct StatusChangeResponse {
    /// The status.
    #[schema(value_type = OrderStatusSchema)]
    status: OrderStatus,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Where an order stands. `completed`, `failed` and `cancelled` are final.
#[derive(ToSchema)]
#[schema(as = OrderStatus, rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "the documentation of domain::OrderStatus, which knows no OpenAPI"
)]
enum OrderStatusSchema {
    Pending,
    Processing,
    Completed,
    Failed,
    Cancelled,
}

/// Why an order failed.
#[derive(ToSchema)]
#[schema(as = FailureReason, rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "the documentation of domain::FailureReason, which knows no OpenAPI"
)]
enum FailureReasonSchema {
    InsufficientStock,
    PaymentDeclined,
    InternalError,
}

impl OrderResponse {
    /// The order with every status it has had.
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
