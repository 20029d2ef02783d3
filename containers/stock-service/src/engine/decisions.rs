//! Business decisions: pure functions over the batch's state.
//!
//! No I/O, no clock, and no randomness except in event ids. The commands of a batch are decided one after the
//! other; each sees the changes of the previous ones.

use domain::ProductId;
use events::{
    EventContext,
    stock::{ReleaseCause, StockReleased, StockReserved, StockUpdated, UpdateCause},
};
use uuid::Uuid;

use super::{
    BatchState,
    commands::{Adjust, Reserve},
};
use crate::model::{
    Adjustment, AdjustmentOutcome, MAX_QUANTITY, Reservation, ReservationStatus, Shortage, StockError,
    StockLevel,
};

impl BatchState {
    /// Reserves all requested items or none. A repeated id returns the first result until the reservation is
    /// released or expires. Only [`StockError::StockHeld`] is decided anew each time.
    pub fn reserve(&mut self, command: &Reserve) -> Result<Reservation, StockError> {
        self.expire_if_due(command.id, &command.context);
        if let Some(known) = self.reservation(command.id) {
            return repeated_reserve_result(known, command);
        }
        let shortages = self.shortages(command);
        if !shortages.is_empty() && shortages.iter().all(|shortage| self.is_held(shortage)) {
            return Err(StockError::StockHeld(shortages));
        }
        let reservation = Reservation {
            id: command.id,
            status: if shortages.is_empty() {
                ReservationStatus::Reserved
            } else {
                ReservationStatus::Refused
            },
            items: command.items.clone(),
            expires_at: command
                .expires_in
                .filter(|_| shortages.is_empty())
                .map(|expires_in| self.now() + expires_in),
            shortages,
        };
        self.insert_reservation(reservation.clone());
        if reservation.status == ReservationStatus::Refused {
            return Err(StockError::InsufficientStock(reservation.shortages));
        }
        let reserved = StockReserved {
            reservation_id: command.id,
            items: reservation.items.clone(),
            expires_at: reservation.expires_at,
        };
        self.emit(reserved, &command.context);
        for item in &reservation.items {
            self.change_level(item.product_id, 0, item.quantity, &command.context);
        }
        Ok(reservation)
    }

    /// Sells the units that a reservation holds.
    pub fn commit(&mut self, id: Uuid, context: &EventContext) -> Result<Reservation, StockError> {
        self.expire_if_due(id, context);
        let reservation = self.reservation(id).ok_or(StockError::UnknownReservation)?;
        match reservation.status {
            ReservationStatus::Committed => Ok(reservation.clone()),
            ReservationStatus::Released => Err(StockError::ReservationReleased),
            ReservationStatus::Expired => Err(StockError::ReservationExpired),
            ReservationStatus::Refused => Err(StockError::InsufficientStock(reservation.shortages.clone())),
            ReservationStatus::Reserved => {
                let sold = self.set_status(id, ReservationStatus::Committed);
                for item in &sold.items {
                    let level = self.change_level(item.product_id, -item.quantity, -item.quantity, context);
                    self.emit(
                        stock_updated(item.product_id, level, -item.quantity, UpdateCause::Sale, id),
                        context,
                    );
                }
                Ok(sold)
            }
        }
    }

    /// Returns the units that a reservation holds or has sold. An unknown id is stored as released, so that a
    /// reserve request that arrives later is rejected.
    pub fn release(&mut self, id: Uuid, context: &EventContext) -> Reservation {
        self.expire_if_due(id, context);
        let Some(reservation) = self.reservation(id) else {
            let tombstone = Reservation {
                id,
                status: ReservationStatus::Released,
                items: Vec::new(),
                expires_at: None,
                shortages: Vec::new(),
            };
            self.insert_reservation(tombstone.clone());
            return tombstone;
        };
        match reservation.status {
            ReservationStatus::Released | ReservationStatus::Expired | ReservationStatus::Refused => {
                reservation.clone()
            }
            ReservationStatus::Reserved => {
                self.release_items(id, ReservationStatus::Released, ReleaseCause::Released, context)
            }
            ReservationStatus::Committed => {
                let returned = self.set_status(id, ReservationStatus::Released);
                self.emit(stock_released(&returned, ReleaseCause::Returned), context);
                for item in &returned.items {
                    let level = self.change_level(item.product_id, item.quantity, 0, context);
                    self.emit(
                        stock_updated(item.product_id, level, item.quantity, UpdateCause::Return, id),
                        context,
                    );
                }
                returned
            }
        }
    }

    /// Releases the reservation if it has expired, and does nothing otherwise. Every command on a reservation
    /// calls it first, so the result does not depend on whether the sweep or a client's request comes first.
    pub fn expire_if_due(&mut self, id: Uuid, context: &EventContext) {
        if self
            .reservation(id)
            .is_some_and(|reservation| reservation.is_expired(self.now()))
        {
            self.release_items(id, ReservationStatus::Expired, ReleaseCause::Expired, context);
        }
    }

    /// Changes a product's quantity, unless that would remove reserved units. Both results are stored under
    /// the adjustment's id.
    pub fn adjust(&mut self, command: &Adjust) -> Result<AdjustmentOutcome, StockError> {
        let adjustment = &command.adjustment;
        if let Some(known) = self.adjustment(adjustment.id) {
            return if known.adjustment == *adjustment {
                adjustment_result(known.clone())
            } else {
                Err(StockError::AdjustmentMismatch)
            };
        }
        let mut level = self
            .level(adjustment.product_id)
            .ok_or(StockError::UnknownProduct)?;
        let quantity = level.quantity + adjustment.delta;
        if quantity > MAX_QUANTITY {
            return Err(StockError::StockLimitExceeded);
        }
        let applied = quantity >= level.reserved;
        if applied {
            level = self.change_level(adjustment.product_id, adjustment.delta, 0, &command.context);
            let Adjustment {
                id,
                product_id,
                delta,
                ..
            } = adjustment;
            self.emit(
                stock_updated(*product_id, level, *delta, UpdateCause::Adjustment, *id),
                &command.context,
            );
        }
        let outcome = AdjustmentOutcome {
            adjustment: adjustment.clone(),
            applied,
            // A repetition of the request reads it from the time of the stored adjustment.
            level: StockLevel {
                updated_at: self.now(),
                ..level
            },
        };
        self.insert_adjustment(outcome.clone());
        adjustment_result(outcome)
    }

    #[must_use]
    pub fn has_stock(&self, product_id: ProductId) -> bool {
        self.level(product_id).is_some()
    }

    fn shortages(&self, command: &Reserve) -> Vec<Shortage> {
        command
            .items
            .iter()
            .map(|item| Shortage {
                product_id: item.product_id,
                requested: item.quantity,
                available: self.level(item.product_id).map_or(0, |level| level.available()),
            })
            .filter(|shortage| shortage.available < shortage.requested)
            .collect()
    }

    /// True if the product has the requested units and open reservations hold some of them.
    fn is_held(&self, shortage: &Shortage) -> bool {
        self.level(shortage.product_id)
            .is_some_and(|level| level.quantity >= shortage.requested)
    }

    /// Ends a reservation that still holds its units.
    fn release_items(
        &mut self,
        id: Uuid,
        final_status: ReservationStatus,
        release_cause: ReleaseCause,
        context: &EventContext,
    ) -> Reservation {
        let ended = self.set_status(id, final_status);
        self.emit(stock_released(&ended, release_cause), context);
        for item in &ended.items {
            self.change_level(item.product_id, 0, -item.quantity, context);
        }
        ended
    }
}

fn stock_released(reservation: &Reservation, cause: ReleaseCause) -> StockReleased {
    StockReleased {
        reservation_id: reservation.id,
        items: reservation.items.clone(),
        cause,
    }
}

fn stock_updated(
    product_id: ProductId,
    level: StockLevel,
    delta: i64,
    cause: UpdateCause,
    reference_id: Uuid,
) -> StockUpdated {
    StockUpdated {
        product_id,
        quantity: level.quantity,
        reserved: level.reserved,
        available: level.available(),
        delta,
        cause,
        reference_id,
    }
}

/// Result of repeating a reserve request whose id is known.
fn repeated_reserve_result(known: &Reservation, command: &Reserve) -> Result<Reservation, StockError> {
    // A reservation that was released before its reserve request arrived has no items to compare.
    if known.items != command.items && !known.items.is_empty() {
        return Err(StockError::ReservationMismatch);
    }
    match known.status {
        ReservationStatus::Reserved | ReservationStatus::Committed => Ok(Reservation {
            status: ReservationStatus::Reserved,
            ..known.clone()
        }),
        ReservationStatus::Refused => Err(StockError::InsufficientStock(known.shortages.clone())),
        ReservationStatus::Released => Err(StockError::ReservationReleased),
        ReservationStatus::Expired => Err(StockError::ReservationExpired),
    }
}

fn adjustment_result(outcome: AdjustmentOutcome) -> Result<AdjustmentOutcome, StockError> {
    if outcome.applied {
        return Ok(outcome);
    }
    Err(StockError::InsufficientStock(vec![Shortage {
        product_id: outcome.adjustment.product_id,
        requested: -outcome.adjustment.delta,
        available: outcome.level.available(),
    }]))
}
