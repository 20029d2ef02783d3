//! Request and response bodies. Requests with unknown fields are rejected.

use domain::{ProductId, Quantity, Timestamp};
use events::stock::ReservedItem;
use http_server::JsonObject;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{Adjustment, AdjustmentOutcome, Reservation, ReservationStatus, StockLevel};

/// Body of `POST /v1/reservations`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReserveRequest {
    /// Chosen by the caller; for an order, the order id. Repeating the request with the same id is safe.
    pub reservation_id: Uuid,
    /// Items to reserve. Several lines may name the same product.
    #[schema(value_type = Vec<ReservationLine>, min_items = 1, max_items = 100)]
    pub items: Vec<JsonObject<ReservationLine>>,
    /// Seconds until the reservation expires. Without it, or with `null`, the reservation never expires.
    #[schema(minimum = 1, maximum = 604_800)]
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
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReservationLine {
    #[schema(value_type = Uuid)]
    pub product_id: ProductId,
    #[schema(value_type = u32, minimum = 1, maximum = 9999)]
    pub quantity: Quantity,
}

/// Body of `POST /v1/stock/{product_id}/adjustments`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustmentRequest {
    /// Idempotency key chosen by the caller: an adjustment is applied once per id.
    pub adjustment_id: Uuid,
    /// Change in units; negative values reduce the quantity.
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    pub delta: i64,
    /// Free text for operators.
    #[schema(min_length = 1, max_length = 500)]
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
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
pub struct ReservationView {
    reservation_id: Uuid,
    status: ReservationStatus,
    #[schema(value_type = Vec<ReservedItemSchema>)]
    items: Vec<ReservedItem>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<Timestamp>,
}

/// A product of a reservation.
#[derive(ToSchema)]
#[schema(as = ReservedItem)]
#[expect(dead_code, reason = "describes the event type `ReservedItem`")]
struct ReservedItemSchema {
    product_id: Uuid,
    /// The sum over all lines of the product.
    #[schema(minimum = 1)]
    quantity: i64,
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
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StockLevel)]
pub struct StockLevelView {
    #[schema(value_type = Uuid)]
    product_id: ProductId,
    quantity: i64,
    /// Units that open reservations hold.
    reserved: i64,
    available: i64,
    #[schema(value_type = String, format = DateTime)]
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
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Adjustment)]
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
