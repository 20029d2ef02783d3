//! What can be asked of the stock. A command that exists is valid, so that none can spoil the batch it is in.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use domain::{ProductId, Quantity};
use events::{EventContext, stock::ReservedItem};
use uuid::Uuid;

use super::BatchState;
use crate::model::{Adjustment, AdjustmentOutcome, Reservation, StockError, sum_lines};

/// Lines of one reservation, before equal products are summed.
pub const MAX_LINES: usize = 100;

/// The longest time for which stock is set aside, when it is not for ever: a week, in seconds.
pub const MAX_EXPIRY_SECONDS: u32 = 604_800;

/// The largest change of one adjustment, in pieces, up or down.
pub const MAX_DELTA: i64 = 1_000_000;

/// The longest reason of an adjustment, in characters.
pub const MAX_REASON_CHARS: usize = 500;

/// Something that a batch decides.
pub trait Command: Send + 'static {
    /// What the one who asked is told.
    type Output: Send + 'static;

    /// Names the rows that have to be locked before the command can be decided.
    fn affected_rows(&self, rows: &mut AffectedRows);

    /// Decides. It may be called again, on newer books, when a batch has to be repeated.
    fn decide(&self, books: &mut BatchState) -> Self::Output;
}

/// The rows that a batch has to lock, in the order in which that is done.
#[derive(Debug, Default)]
pub struct AffectedRows {
    /// Reservations. The products that they hold are concerned as well.
    pub reservations: BTreeSet<Uuid>,
    /// Adjustments.
    pub adjustments: BTreeSet<Uuid>,
    /// Products whose stock row is made, with nothing in it, when the catalogue knows them.
    pub stock_to_create: BTreeSet<ProductId>,
    /// Products.
    pub products: BTreeSet<ProductId>,
}

/// Set these pieces aside.
#[derive(Clone, Debug)]
pub struct Reserve {
    pub(super) id: Uuid,
    pub(super) items: Vec<ReservedItem>,
    pub(super) expires_in: Option<TimeDelta>,
    pub(super) context: EventContext,
}

/// A request that no state of the stock could grant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    /// A reservation of nothing, or of too many lines.
    #[error("a reservation has from 1 to {MAX_LINES} lines")]
    Lines,
    /// An expiry of zero seconds, or one too far away.
    #[error("expires_in_seconds is from 1 to {MAX_EXPIRY_SECONDS}")]
    Expiry,
    /// An adjustment by nothing, or by too much.
    #[error("delta is from -{MAX_DELTA} to {MAX_DELTA} and not 0")]
    Delta,
    /// An adjustment without a reason that can be kept.
    #[error("reason is text of 1 to {MAX_REASON_CHARS} characters without control characters")]
    Reason,
}

impl Reserve {
    /// A reservation of `lines` under `id`, which falls back after `expires_in_seconds`, or never.
    pub fn new(
        id: Uuid,
        lines: impl ExactSizeIterator<Item = (ProductId, Quantity)>,
        expires_in_seconds: Option<u32>,
        cause: EventContext,
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
            context: cause,
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

    fn decide(&self, books: &mut BatchState) -> Self::Output {
        books.reserve(self)
    }
}

/// Sell what is set aside.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The reservation.
    pub id: Uuid,
    /// What led to it.
    pub context: EventContext,
}

impl Command for Commit {
    type Output = Result<Reservation, StockError>;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.reservations.insert(self.id);
    }

    fn decide(&self, books: &mut BatchState) -> Self::Output {
        books.commit(self.id, &self.context)
    }
}

/// Put back what is set aside, or sold. It is never refused.
#[derive(Clone, Debug)]
pub struct Release {
    /// The reservation.
    pub id: Uuid,
    /// What led to it.
    pub context: EventContext,
}

impl Command for Release {
    type Output = Reservation;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.reservations.insert(self.id);
    }

    fn decide(&self, books: &mut BatchState) -> Self::Output {
        books.release(self.id, &self.context)
    }
}

/// Put back what is set aside if its time has run out.
#[derive(Clone, Debug)]
pub struct Expire {
    /// The reservation.
    pub id: Uuid,
    /// What led to it.
    pub context: EventContext,
}

impl Command for Expire {
    type Output = ();

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.reservations.insert(self.id);
    }

    fn decide(&self, books: &mut BatchState) {
        books.expire_if_due(self.id, &self.context);
    }
}

/// Change a quantity.
#[derive(Clone, Debug)]
pub struct Adjust {
    pub(super) adjustment: Adjustment,
    pub(super) context: EventContext,
}

impl Adjust {
    /// A change that can be kept.
    pub fn new(adjustment: Adjustment, cause: EventContext) -> Result<Self, InvalidCommand> {
        if adjustment.delta == 0 || !(-MAX_DELTA..=MAX_DELTA).contains(&adjustment.delta) {
            return Err(InvalidCommand::Delta);
        }
        // PostgreSQL keeps no NUL in text, and would refuse the whole batch for one.
        let length = adjustment.reason.chars().count();
        if !(1..=MAX_REASON_CHARS).contains(&length) || adjustment.reason.chars().any(char::is_control) {
            return Err(InvalidCommand::Reason);
        }
        Ok(Self {
            adjustment,
            context: cause,
        })
    }
}

impl Command for Adjust {
    type Output = Result<AdjustmentOutcome, StockError>;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.adjustments.insert(self.adjustment.id);
        rows.stock_to_create.insert(self.adjustment.product_id);
        rows.products.insert(self.adjustment.product_id);
    }

    fn decide(&self, books: &mut BatchState) -> Self::Output {
        books.adjust(self)
    }
}

/// Keep stock of a product that is new in the catalogue, from zero pieces on.
#[derive(Clone, Debug)]
pub struct CreateStock {
    /// The product.
    pub product_id: ProductId,
}

impl Command for CreateStock {
    type Output = Result<(), StockError>;

    fn affected_rows(&self, rows: &mut AffectedRows) {
        rows.stock_to_create.insert(self.product_id);
        rows.products.insert(self.product_id);
    }

    fn decide(&self, books: &mut BatchState) -> Self::Output {
        if books.has_stock(self.product_id) {
            Ok(())
        } else {
            Err(StockError::UnknownProduct)
        }
    }
}
