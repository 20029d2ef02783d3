//! What stock-service speaks of: levels, reservations, adjustments, and why something is refused.

use std::{collections::BTreeMap, fmt};

use domain::{ProductId, Quantity, Timestamp};
use events::stock::ReservedItem;
use serde::Serialize;
use uuid::Uuid;

/// The most pieces of one product that the house holds: far beyond any warehouse, and far within what a
/// `bigint` and a JSON number keep exactly, whatever comes back from sales.
pub const MAX_QUANTITY: i64 = 1_000_000_000_000;

/// How much there is of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockLevel {
    /// Pieces in the house.
    pub quantity: i64,
    /// Of these, pieces set aside.
    pub reserved: i64,
    /// When either changed last.
    pub updated_at: Timestamp,
}

impl StockLevel {
    /// Pieces that can be bought.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.quantity - self.reserved
    }
}

/// Where a reservation stands.
///
/// ```text
/// (nothing) ──► reserved ──► committed ──► released
///     │             ├──► released
///     │             └──► expired
///     ├──► refused
///     └──► released       a release came before the reservation, which is then refused
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// Its pieces are set aside.
    Reserved,
    /// Its pieces are sold and gone.
    Committed,
    /// Its pieces are back, or it never held any.
    Released,
    /// Its time ran out and its pieces are back.
    Expired,
    /// There was not enough of something; it never held anything.
    Refused,
}

impl ReservationStatus {
    const ALL: [Self; 5] = [
        Self::Reserved,
        Self::Committed,
        Self::Released,
        Self::Expired,
        Self::Refused,
    ];

    /// The name on the wire and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

impl fmt::Display for ReservationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Pieces set aside under an id that the caller chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The caller's id; for an order, the order's.
    pub id: Uuid,
    /// Where it stands.
    pub status: ReservationStatus,
    /// What it holds, held or asked for: each product once, in the order of their ids.
    pub items: Vec<ReservedItem>,
    /// When it falls back by itself, if ever.
    pub expires_at: Option<Timestamp>,
    /// What was short, when it was refused.
    pub shortages: Vec<Shortage>,
}

impl Reservation {
    /// Whether it holds pieces that its time has taken away at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.status == ReservationStatus::Reserved && self.expires_at.is_some_and(|end| end <= now)
    }

    /// As it is to be seen at `now`: time ends a reservation, even before its pieces have been put back.
    #[must_use]
    pub fn as_of(mut self, now: Timestamp) -> Self {
        if self.is_expired(now) {
            self.status = ReservationStatus::Expired;
        }
        self
    }
}

/// A product of which there is less than was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shortage {
    /// The product.
    pub product_id: ProductId,
    /// Pieces asked for.
    pub requested: i64,
    /// Pieces that could be bought at that moment.
    pub available: i64,
}

/// Pieces counted, delivered, broken or lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The sender's id: the same id counts once.
    pub id: Uuid,
    /// The product.
    pub product_id: ProductId,
    /// By how much its quantity changes.
    pub delta: i64,
    /// Why, for people.
    pub reason: String,
}

/// An adjustment and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjustmentOutcome {
    /// The adjustment.
    pub adjustment: Adjustment,
    /// Whether it was applied. It is refused when it would take pieces that are set aside.
    pub applied: bool,
    /// The level after it was applied, or that it was refused at, and when that was.
    pub level: StockLevel,
}

/// Why stock-service does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// There is not enough. The answer is remembered.
    #[error("there is not enough stock")]
    InsufficientStock(Vec<Shortage>),
    /// The reservation's id was used for other items.
    #[error("the reservation id was used before, with other items")]
    ReservationMismatch,
    /// The reservation has been released.
    #[error("the reservation has been released")]
    ReservationReleased,
    /// The reservation's time ran out.
    #[error("the reservation has expired")]
    ReservationExpired,
    /// Nobody made that reservation.
    #[error("there is no such reservation")]
    UnknownReservation,
    /// The adjustment's id was used for another adjustment.
    #[error("the adjustment id was used before, with other content")]
    AdjustmentMismatch,
    /// The catalogue does not know the product.
    #[error("there is no such product")]
    UnknownProduct,
    /// The adjustment leads past [`MAX_QUANTITY`].
    #[error("a product's stock cannot exceed {MAX_QUANTITY} pieces")]
    StockLimitExceeded,
}

/// One entry for each product, in the order of their ids, from an order's lines. Equal products are summed.
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
