//! Carts as JSON.

use domain::{Currency, ProductId, Quantity};
use serde::Serialize;
use utoipa::ToSchema;

use crate::carts::{PricedCart, PricedLine};

/// A cart at current prices.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cart)]
pub struct CartResponse {
    /// The products in the cart, at most 50.
    pub items: Vec<CartItemResponse>,
    /// The currency of all amounts (ISO 4217).
    #[schema(value_type = String, example = "JPY")]
    pub currency: Currency,
    /// The total price of all products that are still available, in minor units.
    #[schema(example = 15000)]
    pub total_amount: i64,
    /// The token of a newly created anonymous cart, to be sent as header Cart-Token in later requests. Only
    /// present in the response to the request that created the cart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cart_token: Option<String>,
}

/// A product in a cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CartItem)]
pub struct CartItemResponse {
    #[schema(value_type = uuid::Uuid)]
    pub product_id: ProductId,
    /// The English name; null when the product is no longer available.
    #[schema(required)]
    pub product_name: Option<String>,
    /// The number of units.
    #[schema(value_type = u32, minimum = 1, maximum = 9999)]
    pub quantity: Quantity,
    /// The current unit price in minor units; null when the product is no longer available.
    #[schema(required, example = 7500)]
    pub price: Option<i64>,
    pub availability: Availability,
    /// The number of these units that are currently in stock: at most `quantity`.
    #[schema(minimum = 0, maximum = 9999)]
    pub available: u32,
}

/// Whether the requested quantity is currently in stock. It is an estimate: stock is reserved only when the
/// order is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// All units are in stock.
    InStock,
    /// Some units are in stock.
    Insufficient,
    /// No unit is in stock.
    OutOfStock,
    /// The product was removed from the catalog.
    Withdrawn,
}

impl From<PricedCart> for CartResponse {
    fn from(PricedCart { lines, total }: PricedCart) -> Self {
        Self {
            items: lines.iter().map(CartItemResponse::from).collect(),
            currency: total.currency(),
            total_amount: total.amount(),
            cart_token: None,
        }
    }
}

impl From<&PricedLine> for CartItemResponse {
    fn from(line: &PricedLine) -> Self {
        let PricedLine {
            product_id,
            quantity,
            product,
            available,
        } = line;
        let availability = match *available {
            _ if product.is_none() => Availability::Withdrawn,
            0 => Availability::OutOfStock,
            available if available < quantity.get() => Availability::Insufficient,
            _ => Availability::InStock,
        };
        Self {
            product_id: *product_id,
            product_name: product.as_ref().map(|product| product.name.clone()),
            quantity: *quantity,
            price: product.as_ref().map(|product| product.price.amount()),
            availability,
            available: *available,
        }
    }
}
