//! Bodies, in and out. Fields that nobody knows are refused.

use domain::{ProductId, Quantity, Timestamp};
use events::stock::ReservedItem;
use http_server::JsonObject;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{Adjustment, AdjustmentOutcome, Reservation, ReservationStatus, StockLevel};

/// `POST /v1/reservations`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveRequest {
    /// The caller's id; for an order, the order's.
    pub reservation_id: Uuid,
    /// What to set aside. A product may stand on several lines.
    pub items: Vec<JsonObject<ReservationLine>>,
    /// After how many seconds it falls back by itself; never, when left out or null.
    pub expires_in_seconds: Option<u32>,
}

impl ReserveRequest {
    /// What is asked for: pieces of each product, line by line.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = (ProductId, Quantity)> {
        self.items
            .iter()
            .map(|JsonObject(line)| (line.product_id, line.quantity))
    }
}

/// A line of an order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationLine {
    /// The product.
    pub product_id: ProductId,
    /// Pieces of it.
    pub quantity: Quantity,
}

/// `POST /v1/stock/{product_id}/adjustments`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustmentRequest {
    /// The caller's id: the same id counts once.
    pub adjustment_id: Uuid,
    /// By how much the quantity changes.
    pub delta: i64,
    /// Why, for people.
    pub reason: String,
}

impl AdjustmentRequest {
    /// The adjustment of that product.
    #[must_use]
    pub fn into_adjustment(self, product_id: ProductId) -> Adjustment {
        Adjustment {
            id: self.adjustment_id,
            product_id,
            delta: self.delta,
            reason: self.reason,
        }
    }
}

/// A reservation.
#[derive(Debug, Serialize)]
pub struct ReservationView {
    reservation_id: Uuid,
    status: ReservationStatus,
    items: Vec<ReservedItem>,
    expires_at: Option<Timestamp>,
}

impl From<Reservation> for ReservationView {
    fn from(reservation: Reservation) -> Self {
        let Reservation {
            id,
            status,
            items,
            expires_at,
            shortages: _,
        } = reservation;
        Self {
            reservation_id: id,
            status,
            items,
            expires_at,
        }
    }
}

/// How much there is of a product.
#[derive(Debug, Serialize)]
pub struct StockLevelView {
    product_id: ProductId,
    quantity: i64,
    reserved: i64,
    available: i64,
    updated_at: Timestamp,
}

impl StockLevelView {
    /// The level of that product.
    #[must_use]
    pub fn new(product_id: ProductId, level: StockLevel) -> Self {
        let StockLevel {
            quantity,
            reserved,
            updated_at,
        } = level;
        Self {
            product_id,
            quantity,
            reserved,
            available: level.available(),
            updated_at,
        }
    }
}

/// An adjustment and the level that it made.
#[derive(Debug, Serialize)]
pub struct AdjustmentView {
    adjustment_id: Uuid,
    delta: i64,
    #[serde(flatten)]
    level: StockLevelView,
}

impl From<AdjustmentOutcome> for AdjustmentView {
    fn from(adjusted: AdjustmentOutcome) -> Self {
        let Adjustment {
            id,
            product_id,
            delta,
            ..
        } = adjusted.adjustment;
        Self {
            adjustment_id: id,
            delta,
            level: StockLevelView::new(product_id, adjusted.level),
        }
    }
}
