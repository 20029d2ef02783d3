//! Request and response bodies. Requests with unknown fields are rejected.

use domain::{ProductId, Quantity, Timestamp};
use events::stock::ReservedItem;
use http_server::JsonObject;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{Adjustment, AdjustmentOutcome, Reservation, ReservationStatus, StockLevel};

/// Body of `POST /v1/reservations`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveRequest {
    /// Chosen by the caller; for an order, the order id. Repeating the request with the same id is safe.
    pub reservation_id: Uuid,
    /// Items to reserve. Several lines may name the same product.
    pub items: Vec<JsonObject<ReservationLine>>,
    /// Seconds until the reservation expires. Without it, or with `null`, the reservation never expires.
    pub expires_in_seconds: Option<u32>,
}

impl ReserveRequest {
    /// Product and quantity of each line.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = (ProductId, Quantity)> {
        self.items
            .iter()
            .map(|JsonObject(line)| (line.product_id, line.quantity))
    }
}

/// A line of a reservation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationLine {
    pub product_id: ProductId,
    pub quantity: Quantity,
}

/// Body of `POST /v1/stock/{product_id}/adjustments`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustmentRequest {
    /// Idempotency key chosen by the caller: an adjustment is applied once per id.
    pub adjustment_id: Uuid,
    /// Change in units; negative values reduce the quantity.
    pub delta: i64,
    /// Free text for operators.
    pub reason: String,
}

impl AdjustmentRequest {
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

/// Reservation in responses.
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

/// Stock level in responses.
#[derive(Debug, Serialize)]
pub struct StockLevelView {
    product_id: ProductId,
    quantity: i64,
    reserved: i64,
    available: i64,
    updated_at: Timestamp,
}

impl StockLevelView {
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

/// Applied adjustment and the resulting level, in responses.
#[derive(Debug, Serialize)]
pub struct AdjustmentView {
    adjustment_id: Uuid,
    delta: i64,
    #[serde(flatten)]
    level: StockLevelView,
}

impl From<AdjustmentOutcome> for AdjustmentView {
    fn from(outcome: AdjustmentOutcome) -> Self {
        let Adjustment {
            id,
            product_id,
            delta,
            ..
        } = outcome.adjustment;
        Self {
            adjustment_id: id,
            delta,
            level: StockLevelView::new(product_id, outcome.level),
        }
    }
}
