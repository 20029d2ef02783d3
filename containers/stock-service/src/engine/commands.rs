//! Commands of the stock engine. Constructors validate, so that no command can fail the batch that contains
//! it.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use domain::{ProductId, Quantity, text::is_single_line};
use events::{EventContext, stock::ReservedItem};
use uuid::Uuid;

use super::BatchState;
use crate::model::{Adjustment, AdjustmentOutcome, Reservation, StockError, sum_lines};

/// Maximum lines of one reservation, before lines of the same product are summed.
pub const MAX_LINES: usize = 100;

/// Maximum time to expiry of a reservation that expires, in seconds: one week.
pub const MAX_EXPIRY_SECONDS: u32 = 604_800;

/// Maximum absolute change of one adjustment, in units.
pub const MAX_DELTA: i64 = 1_000_000;

/// Maximum length of an adjustment's reason, in characters.
pub const MAX_REASON_CHARS: usize = 500;

/// A command that the engine processes as part of a batch.
pub trait Command: Send + 'static {
    /// Result returned to the caller.
    type Output: Send + 'static;

    /// Adds the rows that must be read, or locked, before the command can be decided.
    fn affected_rows(&self, rows: &mut AffectedRows);

    /// Applies the command to the batch's state. Called again on fresh state when a batch is retried.
    fn decide(&self, state: &mut BatchState) -> Self::Output;
}

/// The rows that a batch reads or locks. The sets are ordered because locks are taken in id order.
#[derive(Debug, Default)]
pub struct AffectedRows {
    /// The stock rows of these reservations' items are affected as well.
    pub reservations: BTreeSet<Uuid>,
    pub adjustments: BTreeSet<Uuid>,
    /// Products whose stock row is created with quantity 0 if it is missing and the catalog has the product.
    pub stock_to_create: BTreeSet<ProductId>,
    pub products: BTreeSet<ProductId>,
}

/// Reserves units under a caller-chosen id.
#[derive(Clone, Debug)]
pub struct Reserve {
    pub(super) id: Uuid,
    pub(super) items: Vec<ReservedItem>,
    pub(super) expires_in: Option<TimeDelta>,
    pub(super) context: EventContext,
}

/// The command is invalid whatever the state of the stock.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    /// No lines, or too many.
    #[error("a reservation must have 1 to {MAX_LINES} lines")]
    Lines,
    /// Expiry of zero seconds, or longer than the maximum.
    #[error("expires_in_seconds must be 1 to {MAX_EXPIRY_SECONDS}")]
    Expiry,
    /// Delta of zero, or beyond the maximum.
    #[error("delta must be -{MAX_DELTA} to {MAX_DELTA} and not 0")]
    Delta,
    /// Reason blank, too long, or with line breaks.
    #[error("reason must have 1 to {MAX_REASON_CHARS} characters on one line")]
    Reason,
}

impl Reserve {
    /// `expires_in_seconds` of `None` makes a reservation that never expires.
    pub fn new(
        id: Uuid,
        lines: impl ExactSizeIterator<Item = (ProductId, Quantity)>,
        expires_in_seconds: Option<u32>,
        context: EventContext,
    ) -> Result<Self, InvalidCommand> {
        if !(1..=MAX_LINES).contains(&lines.len()) {
            return Err(InvalidCommand::Lines);
        }
        if expires_in_seconds.is_some_and(|seconds| !(1..=MAX_EXPIRY_SECONDS).contains(&seconds)) {
            return Err(InvalidCommand::Expiry);
        }
        let expires_in = expires_in_seconds.map(|seconds| TimeDelta::seconds(i64::from(seconds)));
        Ok(Self {
            id,
            items: sum_lines(lines),
            expires_in,
            context,
        })
    }
}

impl Command for Reserve {
    type Output = Result<Reservation, StockError>;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.reservations.insert(self.id);
        rows.products
            .extend(self.items.iter().map(|item| item.product_id));
    }

    fn decide(&self, state: &mut BatchState) -> Self::Output {
        state.reserve(self)
    }
}

/// Sells the units that a reservation holds.
#[derive(Clone, Debug)]
pub struct Commit {
    pub id: Uuid,
    pub context: EventContext,
}

impl Command for Commit {
    type Output = Result<Reservation, StockError>;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.reservations.insert(self.id);
    }

    fn decide(&self, state: &mut BatchState) -> Self::Output {
        state.commit(self.id, &self.context)
    }
}

/// Returns reserved or sold units to stock. Never rejected.
#[derive(Clone, Debug)]
pub struct Release {
    pub id: Uuid,
    pub context: EventContext,
}

impl Command for Release {
    type Output = Reservation;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.reservations.insert(self.id);
    }

    fn decide(&self, state: &mut BatchState) -> Self::Output {
        state.release(self.id, &self.context)
    }
}

/// Returns reserved units to stock if the reservation has expired.
#[derive(Clone, Debug)]
pub struct Expire {
    pub id: Uuid,
    pub context: EventContext,
}

impl Command for Expire {
    type Output = ();

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.reservations.insert(self.id);
    }

    fn decide(&self, state: &mut BatchState) {
        state.expire_if_due(self.id, &self.context);
    }
}

/// Changes a product's quantity.
#[derive(Clone, Debug)]
pub struct Adjust {
    pub(super) adjustment: Adjustment,
    pub(super) context: EventContext,
}

impl Adjust {
    /// Fails if the delta or the reason is out of range.
    pub fn new(adjustment: Adjustment, context: EventContext) -> Result<Self, InvalidCommand> {
        if adjustment.delta == 0 || !(-MAX_DELTA..=MAX_DELTA).contains(&adjustment.delta) {
            return Err(InvalidCommand::Delta);
        }
        // PostgreSQL text cannot contain NUL: one such reason would fail the whole batch.
        if !is_single_line(&adjustment.reason, MAX_REASON_CHARS) {
            return Err(InvalidCommand::Reason);
        }
        Ok(Self { adjustment, context })
    }
}

impl Command for Adjust {
    type Output = Result<AdjustmentOutcome, StockError>;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.adjustments.insert(self.adjustment.id);
        rows.stock_to_create.insert(self.adjustment.product_id);
        rows.products.insert(self.adjustment.product_id);
    }

    fn decide(&self, state: &mut BatchState) -> Self::Output {
        state.adjust(self)
    }
}

/// Creates the stock row, with quantity 0, of a product that is new in the catalog.
#[derive(Clone, Debug)]
pub struct CreateStock {
    pub product_id: ProductId,
}

impl Command for CreateStock {
    type Output = Result<(), StockError>;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.stock_to_create.insert(self.product_id);
        rows.products.insert(self.product_id);
    }

    fn decide(&self, state: &mut BatchState) -> Self::Output {
        if state.has_stock(self.product_id) {
            Ok(())
        } else {
            Err(StockError::UnknownProduct)
        }
    }
}
