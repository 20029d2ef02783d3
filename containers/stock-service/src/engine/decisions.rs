//! The decisions: pure code over the books.
//!
//! No I/O, no clock, no randomness but in the ids of events. Everything that a batch decides is decided here,
//! one command after the other, each seeing what the one before it changed.

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
    /// Sets aside everything that is asked for, or nothing. The answer to a known id is its first answer, as
    /// long as the reservation has not come back.
    pub fn reserve(&mut self, wish: &Reserve) -> Result<Reservation, StockError> {
        self.expire_if_due(wish.id, &wish.context);
        if let Some(known) = self.reservation(wish.id) {
            return repeated_reserve_result(known, wish);
        }
        let shortages = self.shortages(wish);
        let reservation = Reservation {
            id: wish.id,
            status: if shortages.is_empty() {
                ReservationStatus::Reserved
            } else {
                ReservationStatus::Refused
            },
            items: wish.items.clone(),
            expires_at: wish
                .expires_in
                .filter(|_| shortages.is_empty())
                .map(|time| self.now() + time),
            shortages,
        };
        self.insert_reservation(reservation.clone());
        if reservation.status == ReservationStatus::Refused {
            return Err(StockError::InsufficientStock(reservation.shortages));
        }
        let reserved = StockReserved {
            reservation_id: wish.id,
            items: reservation.items.clone(),
            expires_at: reservation.expires_at,
        };
        self.emit(reserved, &wish.context);
        for item in &reservation.items {
            self.change_level(item.product_id, 0, item.quantity, &wish.context);
        }
        Ok(reservation)
    }

    /// Sells what a reservation holds.
    pub fn commit(&mut self, id: Uuid, cause: &EventContext) -> Result<Reservation, StockError> {
        self.expire_if_due(id, cause);
        let reservation = self.reservation(id).ok_or(StockError::UnknownReservation)?;
        match reservation.status {
            ReservationStatus::Committed => Ok(reservation.clone()),
            ReservationStatus::Released => Err(StockError::ReservationReleased),
            ReservationStatus::Expired => Err(StockError::ReservationExpired),
            ReservationStatus::Refused => Err(StockError::InsufficientStock(reservation.shortages.clone())),
            ReservationStatus::Reserved => {
                let sold = self.set_status(id, ReservationStatus::Committed);
                for item in &sold.items {
                    let level = self.change_level(item.product_id, -item.quantity, -item.quantity, cause);
                    self.emit(
                        stock_updated(item.product_id, level, -item.quantity, UpdateCause::Sale, id),
                        cause,
                    );
                }
                Ok(sold)
            }
        }
    }

    /// Gives back what a reservation holds or has sold. An id that nobody knows is remembered as released,
    /// so that its reservation is refused when it comes late.
    pub fn release(&mut self, id: Uuid, cause: &EventContext) -> Reservation {
        self.expire_if_due(id, cause);
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
                self.release_items(id, ReservationStatus::Released, ReleaseCause::Released, cause)
            }
            ReservationStatus::Committed => {
                let returned = self.set_status(id, ReservationStatus::Released);
                self.emit(stock_released(&returned, ReleaseCause::Returned), cause);
                for item in &returned.items {
                    let level = self.change_level(item.product_id, item.quantity, 0, cause);
                    self.emit(
                        stock_updated(item.product_id, level, item.quantity, UpdateCause::Return, id),
                        cause,
                    );
                }
                returned
            }
        }
    }

    /// Gives back what a reservation holds whose time has run out. Anything else it leaves alone: time alone
    /// decides, whether the sweep comes first or somebody who asks for the reservation.
    pub fn expire_if_due(&mut self, id: Uuid, cause: &EventContext) {
        if self
            .reservation(id)
            .is_some_and(|reservation| reservation.is_expired(self.now()))
        {
            self.release_items(id, ReservationStatus::Expired, ReleaseCause::Expired, cause);
        }
    }

    /// Changes a product's quantity, unless that would take pieces that are set aside. Both answers are
    /// remembered.
    pub fn adjust(&mut self, wish: &Adjust) -> Result<AdjustmentOutcome, StockError> {
        let adjustment = &wish.adjustment;
        if let Some(known) = self.adjustment(adjustment.id) {
            return if known.adjustment == *adjustment {
                adjustment_result(known.clone())
            } else {
                Err(StockError::AdjustmentMismatch)
            };
        }
        let level = self
            .level(adjustment.product_id)
            .ok_or(StockError::UnknownProduct)?;
        let quantity = level.quantity + adjustment.delta;
        if quantity > MAX_QUANTITY {
            return Err(StockError::StockLimitExceeded);
        }
        let applied = quantity >= level.reserved;
        let level = if applied {
            let level = self.change_level(adjustment.product_id, adjustment.delta, 0, &wish.context);
            let Adjustment {
                id,
                product_id,
                delta,
                ..
            } = adjustment;
            self.emit(
                stock_updated(*product_id, level, *delta, UpdateCause::Adjustment, *id),
                &wish.context,
            );
            level
        } else {
            StockLevel {
                updated_at: self.now(),
                ..level
            }
        };
        let outcome = AdjustmentOutcome {
            adjustment: adjustment.clone(),
            applied,
            level,
        };
        self.insert_adjustment(outcome.clone());
        adjustment_result(outcome)
    }

    /// Whether a product has a stock row.
    #[must_use]
    pub fn has_stock(&self, product_id: ProductId) -> bool {
        self.level(product_id).is_some()
    }

    fn shortages(&self, wish: &Reserve) -> Vec<Shortage> {
        wish.items
            .iter()
            .map(|item| Shortage {
                product_id: item.product_id,
                requested: item.quantity,
                available: self.level(item.product_id).map_or(0, |level| level.available()),
            })
            .filter(|line| line.available < line.requested)
            .collect()
    }

    /// Ends a reservation that still holds its pieces.
    fn release_items(
        &mut self,
        id: Uuid,
        end: ReservationStatus,
        why: ReleaseCause,
        cause: &EventContext,
    ) -> Reservation {
        let ended = self.set_status(id, end);
        self.emit(stock_released(&ended, why), cause);
        for item in &ended.items {
            self.change_level(item.product_id, 0, -item.quantity, cause);
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

/// The first answer again to a reservation that is known.
fn repeated_reserve_result(known: &Reservation, wish: &Reserve) -> Result<Reservation, StockError> {
    // What was released before it came has no items to compare.
    if known.items != wish.items && !known.items.is_empty() {
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

/// The answer that an adjustment's outcome makes.
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
