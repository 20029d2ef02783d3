//! Stock events, and the request with which external systems adjust stock.

use domain::{ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::EventData;

/// The quantity of one product in a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedItem {
    pub product_id: ProductId,
    /// In units, summed over all order lines of the product.
    pub quantity: i64,
}

/// Stock was reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    /// For an order, the order's id.
    pub reservation_id: Uuid,
    pub items: Vec<ReservedItem>,
    /// When the reservation expires; `None` if it never does.
    pub expires_at: Option<Timestamp>,
}

impl EventData for StockReserved {
    const SOURCE: &'static str = "core-api.stock";
    const DETAIL_TYPE: &'static str = "StockReserved";
}

/// Why reserved or sold stock became available again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// The reservation was released before it was committed.
    Released,
    /// The reservation expired.
    Expired,
    /// The reservation had been committed, and the sale was reversed.
    Returned,
}

/// Reserved or sold stock became available again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    pub reservation_id: Uuid,
    pub items: Vec<ReservedItem>,
    pub cause: ReleaseCause,
}

impl EventData for StockReleased {
    const SOURCE: &'static str = "core-api.stock";
    const DETAIL_TYPE: &'static str = "StockReleased";
}

/// Why a product's quantity changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateCause {
    /// A count, delivery, damage or loss.
    Adjustment,
    /// A reservation was committed.
    Sale,
    /// A sale was reversed.
    Return,
}

/// The quantity of a product changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockUpdated {
    pub product_id: ProductId,
    /// Units in the warehouse, including reserved ones.
    pub quantity: i64,
    /// Units held by open reservations.
    pub reserved: i64,
    /// Units that can be ordered: `quantity - reserved`.
    pub available: i64,
    /// The change of `quantity`.
    pub delta: i64,
    pub cause: UpdateCause,
    /// The id of the adjustment or reservation that caused the change.
    pub reference_id: Uuid,
}

impl EventData for StockUpdated {
    const SOURCE: &'static str = "core-api.stock";
    const DETAIL_TYPE: &'static str = "StockUpdated";
}

/// The available quantity of a product fell to the threshold or below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLow {
    pub product_id: ProductId,
    /// Units that can be ordered.
    pub available: i64,
    /// In units.
    pub threshold: i64,
}

impl EventData for StockLow {
    const SOURCE: &'static str = "core-api.stock";
    const DETAIL_TYPE: &'static str = "StockLow";
}

/// An external system, such as a warehouse, requests a change of a product's quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockAdjustmentRequested {
    /// The sender's id of the adjustment; stock-service applies each id once.
    pub adjustment_id: Uuid,
    pub product_id: ProductId,
    /// The change of the quantity, in units.
    pub delta: i64,
    /// A free text for operators.
    pub reason: String,
}

impl EventData for StockAdjustmentRequested {
    const SOURCE: &'static str = "warehouse";
    const DETAIL_TYPE: &'static str = "StockAdjustmentRequested";
}
