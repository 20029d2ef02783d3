//! What happens to stock.

use domain::{ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::EventData;

/// Pieces of one product in a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedItem {
    /// The product.
    pub product_id: ProductId,
    /// How many pieces, summed over the lines that name the product.
    pub quantity: i64,
}

/// Stock is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    /// The reservation; for an order, the order's id.
    pub reservation_id: Uuid,
    /// What is set aside.
    pub items: Vec<ReservedItem>,
    /// When it falls back by itself, if ever.
    pub expires_at: Option<Timestamp>,
}

impl EventData for StockReserved {
    const SOURCE: &'static str = "core-api.stock";
    const DETAIL_TYPE: &'static str = "StockReserved";
}

/// Why stock came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// It was released before it was sold.
    Released,
    /// Its time ran out.
    Expired,
    /// It had been sold, and the sale was undone.
    Returned,
}

/// Stock that was set aside, or sold, can be bought again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    /// The reservation that held it.
    pub reservation_id: Uuid,
    /// What came back.
    pub items: Vec<ReservedItem>,
    /// Why.
    pub cause: ReleaseCause,
}

impl EventData for StockReleased {
    const SOURCE: &'static str = "core-api.stock";
    const DETAIL_TYPE: &'static str = "StockReleased";
}

/// What changed a product's quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateCause {
    /// Pieces were counted, delivered, broken or lost.
    Adjustment,
    /// A reservation was committed.
    Sale,
    /// A sale was undone.
    Return,
}

/// The quantity of a product changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockUpdated {
    /// The product.
    pub product_id: ProductId,
    /// Pieces in the house.
    pub quantity: i64,
    /// Of these, pieces set aside.
    pub reserved: i64,
    /// Pieces that can be bought: `quantity - reserved`.
    pub available: i64,
    /// By how much `quantity` changed.
    pub delta: i64,
    /// What changed it.
    pub cause: UpdateCause,
    /// The adjustment or reservation that did.
    pub reference_id: Uuid,
}

impl EventData for StockUpdated {
    const SOURCE: &'static str = "core-api.stock";
    const DETAIL_TYPE: &'static str = "StockUpdated";
}

/// What can be bought of a product fell to the threshold or below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLow {
    /// The product.
    pub product_id: ProductId,
    /// Pieces that can be bought.
    pub available: i64,
    /// The threshold that was crossed.
    pub threshold: i64,
}

impl EventData for StockLow {
    const SOURCE: &'static str = "core-api.stock";
    const DETAIL_TYPE: &'static str = "StockLow";
}

/// Someone outside, such as a warehouse, counted, delivered or lost pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockAdjustmentRequested {
    /// The sender's id of the adjustment: the same id counts once.
    pub adjustment_id: Uuid,
    /// The product.
    pub product_id: ProductId,
    /// By how much the quantity changes.
    pub delta: i64,
    /// Why, for people.
    pub reason: String,
}

impl EventData for StockAdjustmentRequested {
    const SOURCE: &'static str = "warehouse";
    const DETAIL_TYPE: &'static str = "StockAdjustmentRequested";
}
