//! In-memory state of a batch: the rows it has read, the changes it makes and the events it emits.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use domain::{ProductId, Timestamp};
use events::{Envelope, EventContext, EventData, OutboxEvent, stock::StockLow};
use uuid::Uuid;

use crate::model::{AdjustmentOutcome, Reservation, ReservationStatus, StockLevel};

/// The precision of the database. `updated_at` rises by at least this much with each change of a level, so
/// that it numbers the changes, also of several instances whose clocks differ.
const SHORTEST_STEP: TimeDelta = TimeDelta::microseconds(1);

/// State of a batch while its commands are being decided.
#[derive(Debug)]
pub struct BatchState {
    now: Timestamp,
    low_threshold: i64,
    levels: BTreeMap<ProductId, StockLevel>,
    reservations: BTreeMap<Uuid, Reservation>,
    adjustments: BTreeMap<Uuid, AdjustmentOutcome>,
    /// The original values of changed levels.
    changed_levels: BTreeMap<ProductId, StockLevel>,
    new_reservations: BTreeSet<Uuid>,
    updated_reservations: BTreeMap<Uuid, ReservationStatus>,
    new_adjustments: BTreeSet<Uuid>,
    events: Vec<OutboxEvent>,
}

/// The rows that a batch has read, with the time and threshold that its decisions use.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Time of all decisions, truncated to microseconds, the precision of the database.
    pub now: Timestamp,
    /// A product is low when at most this many units are available.
    pub low_threshold: i64,
    /// Affected products that have a stock row.
    pub levels: BTreeMap<ProductId, StockLevel>,
    /// Affected reservations that exist.
    pub reservations: BTreeMap<Uuid, Reservation>,
    /// Affected adjustments that exist.
    pub adjustments: BTreeMap<Uuid, AdjustmentOutcome>,
}

/// The rows that a batch writes, each kind sorted by id.
#[derive(Debug, Default)]
pub struct Changes {
    pub levels: Vec<Change<ProductId, StockLevel>>,
    pub new_reservations: Vec<Reservation>,
    /// Existing reservations whose status changed.
    pub updated_reservations: Vec<Change<Uuid, ReservationStatus>>,
    pub new_adjustments: Vec<AdjustmentOutcome>,
    /// Emitted events, in the order of the decisions.
    pub events: Vec<OutboxEvent>,
}

/// Compare-and-set of an existing row: it is written only if it still has the value `from`.
#[derive(Clone, Copy, Debug)]
pub struct Change<K, V> {
    pub id: K,
    pub from: V,
    pub to: V,
}

impl BatchState {
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        let Snapshot {
            now,
            low_threshold,
            levels,
            reservations,
            adjustments,
        } = snapshot;
        Self {
            now,
            low_threshold,
            levels,
            reservations,
            adjustments,
            changed_levels: BTreeMap::new(),
            new_reservations: BTreeSet::new(),
            updated_reservations: BTreeMap::new(),
            new_adjustments: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    /// Returns the rows and events to write.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let Self {
            levels,
            reservations,
            adjustments,
            changed_levels,
            new_reservations,
            updated_reservations,
            new_adjustments,
            events,
            ..
        } = self;
        Changes {
            levels: changed_levels
                .into_iter()
                .map(|(id, from)| Change {
                    id,
                    from,
                    to: levels[&id],
                })
                .collect(),
            updated_reservations: updated_reservations
                .into_iter()
                // New reservations are inserted with their final status.
                .filter(|(id, _)| !new_reservations.contains(id))
                .map(|(id, from)| Change {
                    id,
                    from,
                    to: reservations[&id].status,
                })
                .collect(),
            new_reservations: reservations
                .into_values()
                .filter(|reservation| new_reservations.contains(&reservation.id))
                .collect(),
            new_adjustments: adjustments
                .into_values()
                .filter(|outcome| new_adjustments.contains(&outcome.adjustment.id))
                .collect(),
            events,
        }
    }

    /// Time of all decisions.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn reservation(&self, id: Uuid) -> Option<&Reservation> {
        self.reservations.get(&id)
    }

    pub(super) fn adjustment(&self, id: Uuid) -> Option<&AdjustmentOutcome> {
        self.adjustments.get(&id)
    }

    /// Returns `None` if the product has no stock row.
    pub(super) fn level(&self, product_id: ProductId) -> Option<StockLevel> {
        self.levels.get(&product_id).copied()
    }

    /// Adds a new reservation.
    pub(super) fn insert_reservation(&mut self, reservation: Reservation) {
        self.new_reservations.insert(reservation.id);
        self.reservations.insert(reservation.id, reservation);
    }

    /// Adds a new adjustment.
    pub(super) fn insert_adjustment(&mut self, outcome: AdjustmentOutcome) {
        self.new_adjustments.insert(outcome.adjustment.id);
        self.adjustments.insert(outcome.adjustment.id, outcome);
    }

    /// Sets the status of an existing reservation and returns it.
    pub(super) fn set_status(&mut self, id: Uuid, status: ReservationStatus) -> Reservation {
        let reservation = self
            .reservations
            .get_mut(&id)
            .expect("callers look the reservation up before they change its status");
        let before = std::mem::replace(&mut reservation.status, status);
        self.updated_reservations.entry(id).or_insert(before);
        reservation.clone()
    }

    /// Changes a level, and emits [`StockLow`] when the available quantity falls to the threshold or below.
    pub(super) fn change_level(
        &mut self,
        product_id: ProductId,
        quantity: i64,
        reserved: i64,
        context: &EventContext,
    ) -> StockLevel {
        let before = self
            .level(product_id)
            .expect("stock rows of reserved or adjusted products are never deleted");
        let after = StockLevel {
            quantity: before.quantity + quantity,
            reserved: before.reserved + reserved,
            updated_at: self.now.max(before.updated_at + SHORTEST_STEP),
        };
        self.levels.insert(product_id, after);
        self.changed_levels.entry(product_id).or_insert(before);

        let threshold = self.low_threshold;
        if before.available() > threshold && after.available() <= threshold {
            self.emit(
                StockLow {
                    product_id,
                    available: after.available(),
                    threshold,
                },
                context,
            );
        }
        after
    }

    /// Adds an event; it is written to the outbox together with the batch.
    pub(super) fn emit<D: EventData>(&mut self, data: D, context: &EventContext) {
        self.events
            .push(OutboxEvent::from(&Envelope::new(data, self.now, context.clone())));
    }
}
