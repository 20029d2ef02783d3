//! The books: the rows that a batch has read, what its decisions change in them, and what they tell.

use std::collections::{BTreeMap, BTreeSet};

use domain::{ProductId, Timestamp};
use events::{Envelope, EventContext, EventData, OutboxEvent, stock::StockLow};
use uuid::Uuid;

use crate::model::{AdjustmentOutcome, Reservation, ReservationStatus, StockLevel};

/// What a batch knows of the stock, and what it changes.
#[derive(Debug)]
pub struct BatchState {
    now: Timestamp,
    low_threshold: i64,
    levels: BTreeMap<ProductId, StockLevel>,
    reservations: BTreeMap<Uuid, Reservation>,
    adjustments: BTreeMap<Uuid, AdjustmentOutcome>,
    /// What was changed, as it was read.
    changed_levels: BTreeMap<ProductId, StockLevel>,
    new_reservations: BTreeSet<Uuid>,
    updated_reservations: BTreeMap<Uuid, ReservationStatus>,
    new_adjustments: BTreeSet<Uuid>,
    events: Vec<OutboxEvent>,
}

/// The rows that a batch has read, and under what conditions it decides.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The moment of all decisions, in whole microseconds, as the store keeps it.
    pub now: Timestamp,
    /// A product is low when this many pieces or fewer can be bought.
    pub low_threshold: i64,
    /// Every product concerned that has stock, be it zero.
    pub levels: BTreeMap<ProductId, StockLevel>,
    /// Every reservation concerned that is known.
    pub reservations: BTreeMap<Uuid, Reservation>,
    /// Every adjustment concerned that is known.
    pub adjustments: BTreeMap<Uuid, AdjustmentOutcome>,
}

/// What a batch writes, each kind in the order of its ids.
#[derive(Debug, Default)]
pub struct Changes {
    /// Levels that are different now.
    pub levels: Vec<Change<ProductId, StockLevel>>,
    /// Reservations that were not there.
    pub new_reservations: Vec<Reservation>,
    /// Reservations that were there and changed their status.
    pub updated_reservations: Vec<Change<Uuid, ReservationStatus>>,
    /// Adjustments that were not there.
    pub new_adjustments: Vec<AdjustmentOutcome>,
    /// What happened, in the order in which it did.
    pub events: Vec<OutboxEvent>,
}

/// A row that was there and is different now. It is written only where it still is as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Change<K, V> {
    /// Its key.
    pub id: K,
    /// As it was read.
    pub from: V,
    /// As it is to be.
    pub to: V,
}

impl BatchState {
    /// Opens the books at a snapshot.
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

    /// Closes the books: what has to be written.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let Self {
            levels,
            reservations,
            adjustments,
            changed_levels,
            new_reservations,
            updated_reservations: moved_reservations,
            new_adjustments,
            events,
            ..
        } = self;
        Changes {
            levels: changed_levels
                .into_iter()
                .filter_map(|(id, from)| {
                    Some(Change {
                        id,
                        from,
                        to: *levels.get(&id)?,
                    })
                })
                .collect(),
            updated_reservations: moved_reservations
                .into_iter()
                // What is new is written as it is in the end, however often it changed within the batch.
                .filter(|(id, _)| !new_reservations.contains(id))
                .filter_map(|(id, from)| {
                    Some(Change {
                        id,
                        from,
                        to: reservations.get(&id)?.status,
                    })
                })
                .collect(),
            new_reservations: reservations
                .into_values()
                .filter(|reservation| new_reservations.contains(&reservation.id))
                .collect(),
            new_adjustments: adjustments
                .into_values()
                .filter(|adjusted| new_adjustments.contains(&adjusted.adjustment.id))
                .collect(),
            events,
        }
    }

    /// The moment of all decisions.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// A reservation, if it is known.
    pub(super) fn reservation(&self, id: Uuid) -> Option<&Reservation> {
        self.reservations.get(&id)
    }

    /// An adjustment, if it is known.
    pub(super) fn adjustment(&self, id: Uuid) -> Option<&AdjustmentOutcome> {
        self.adjustments.get(&id)
    }

    /// A product's level; none without a stock row.
    pub(super) fn level(&self, product_id: ProductId) -> Option<StockLevel> {
        self.levels.get(&product_id).copied()
    }

    /// Keeps a reservation that was not there.
    pub(super) fn insert_reservation(&mut self, reservation: Reservation) {
        self.new_reservations.insert(reservation.id);
        self.reservations.insert(reservation.id, reservation);
    }

    /// Keeps an adjustment that was not there.
    pub(super) fn insert_adjustment(&mut self, adjusted: AdjustmentOutcome) {
        self.new_adjustments.insert(adjusted.adjustment.id);
        self.adjustments.insert(adjusted.adjustment.id, adjusted);
    }

    /// Moves a reservation that is there to another status.
    pub(super) fn set_status(&mut self, id: Uuid, status: ReservationStatus) -> Reservation {
        let reservation = self
            .reservations
            .get_mut(&id)
            .expect("only reservations just looked up are moved");
        let before = std::mem::replace(&mut reservation.status, status);
        self.updated_reservations.entry(id).or_insert(before);
        reservation.clone()
    }

    /// Changes a level, and tells when less can be bought now than the threshold and it was more before.
    pub(super) fn change_level(
        &mut self,
        product_id: ProductId,
        quantity: i64,
        reserved: i64,
        cause: &EventContext,
    ) -> StockLevel {
        let before = self
            .level(product_id)
            .expect("the store keeps the stock row of what was ever reserved or adjusted");
        let after = StockLevel {
            quantity: before.quantity + quantity,
            reserved: before.reserved + reserved,
            updated_at: self.now,
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
                cause,
            );
        }
        after
    }

    /// Tells everybody, once the batch stands.
    pub(super) fn emit<D: EventData>(&mut self, data: D, cause: &EventContext) {
        self.events
            .push(OutboxEvent::from(&Envelope::new(data, self.now, cause.clone())));
    }
}
