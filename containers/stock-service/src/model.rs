//! Domain types of stock-service: stock levels, reservations, adjustments and business errors.

use std::collections::BTreeMap;

use domain::{ProductId, Quantity, Timestamp};
use events::stock::ReservedItem;
use serde::Serialize;
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

/// Maximum quantity of one product, in units. It exceeds any real warehouse, and stays far below the exact
/// range of a `bigint` and of a JSON number even after returns.
pub const MAX_QUANTITY: i64 = 1_000_000_000_000;

/// Stock level of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockLevel {
    /// Units in the warehouse, including reserved ones.
    pub quantity: i64,
    /// Units held by reservations.
    pub reserved: i64,
    /// Time of the last change of either value. It rises with every change.
    pub updated_at: Timestamp,
}

impl StockLevel {
    /// Units that can still be reserved.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.quantity - self.reserved
    }
}

/// Status of a reservation.
///
/// ```text
/// (none) ──► reserved ──► committed ──► released
///   │            ├──► released
///   │            └──► expired
///   ├──► refused
///   └──► released       the release arrived first; the later reserve request is rejected
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Display, EnumString, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ReservationStatus {
    /// Holds its units.
    Reserved,
    /// Its units are sold.
    Committed,
    /// Its units were returned to stock, or it never held any.
    Released,
    /// It expired and its units were returned to stock.
    Expired,
    /// At least one item was short; it never held any units.
    Refused,
}

impl ReservationStatus {
    /// Name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Units reserved under an id that the caller chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Chosen by the caller; for an order, the order id.
    pub id: Uuid,
    pub status: ReservationStatus,
    /// Requested items: one entry per product, sorted by product id.
    pub items: Vec<ReservedItem>,
    /// When the reservation expires; `None` means never.
    pub expires_at: Option<Timestamp>,
    /// Non-empty only when the status is [`ReservationStatus::Refused`].
    pub shortages: Vec<Shortage>,
}

impl Reservation {
    /// True if the reservation still holds units although it has expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.status == ReservationStatus::Reserved
            && self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Returns the reservation as clients must see it at `now`: an expired reservation is reported as expired
    /// even before the sweep has returned its units to stock.
    #[must_use]
    pub fn as_of(mut self, now: Timestamp) -> Self {
        if self.is_expired(now) {
            self.status = ReservationStatus::Expired;
        }
        self
    }
}

/// A product whose available stock is below the requested quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shortage {
    pub product_id: ProductId,
    /// Requested units.
    pub requested: i64,
    /// Available units at the time of the decision.
    pub available: i64,
}

/// A change of a product's quantity outside of sales: stocktaking, delivery, breakage or loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Idempotency key chosen by the sender: an adjustment is applied once per id.
    pub id: Uuid,
    pub product_id: ProductId,
    /// Change in units; negative values reduce the quantity.
    pub delta: i64,
    /// Free text for operators.
    pub reason: String,
}

/// An adjustment and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjustmentOutcome {
    pub adjustment: Adjustment,
    /// False if the adjustment was rejected because it would have removed reserved units.
    pub applied: bool,
    /// Stock level after the adjustment, or the unchanged level at the time of the rejection.
    pub level: StockLevel,
}

/// Business reason for rejecting a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// The rejection is stored, so repeating the request returns the same result.
    #[error("not enough stock")]
    InsufficientStock(Vec<Shortage>),
    /// The warehouse has enough units, but open reservations hold some of them. The rejection is not stored:
    /// repeating the request succeeds once enough of them were released.
    #[error("open reservations hold the stock")]
    StockHeld(Vec<Shortage>),
    #[error("the reservation id was used before with different items")]
    ReservationMismatch,
    #[error("the reservation has been released")]
    ReservationReleased,
    #[error("the reservation has expired")]
    ReservationExpired,
    #[error("the reservation does not exist")]
    UnknownReservation,
    #[error("the adjustment id was used before with different content")]
    AdjustmentMismatch,
    /// The product is not in the catalog.
    #[error("the product does not exist")]
    UnknownProduct,
    /// The adjustment would exceed [`MAX_QUANTITY`].
    #[error("a product's stock cannot exceed {MAX_QUANTITY} units")]
    StockLimitExceeded,
}

/// Sums an order's lines to one item per product, sorted by product id.
#[must_use]
pub fn sum_lines(lines: impl IntoIterator<Item = (ProductId, Quantity)>) -> Vec<ReservedItem> {
    let mut sums = BTreeMap::<ProductId, i64>::new();
    for (product_id, quantity) in lines {
        *sums.entry(product_id).or_default() += i64::from(quantity.get());
    }
    sums.into_iter()
        .map(|(product_id, quantity)| ReservedItem { product_id, quantity })
        .collect()
}
