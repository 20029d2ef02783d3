//! The decisions: pure code over the books.
//!
//! No I/O, no clock, no randomness but in the ids of events. Everything that a batch decides is decided here,
//! one command after the other, each seeing what the one before it changed.

use domain::ProductId;
use events::{
    Cause,
    stock::{ReleaseCause, StockReleased, StockReserved, StockUpdated, UpdateCause},
};
use uuid::Uuid;

use super::{
    Books,
    commands::{Adjust, Reserve},
};
use crate::model::{Adjusted, Adjustment, Level, MAX_QUANTITY, Refusal, Reservation, Shortage, Status};

impl Books {
    /// Sets aside everything that is asked for, or nothing. The answer to a known id is its first answer, as
    /// long as the reservation has not come back.
    pub fn reserve(&mut self, wish: &Reserve) -> Result<Reservation, Refusal> {
        self.lapse(wish.id, &wish.cause);
        if let Some(known) = self.reservation(wish.id) {
            return answer_again(known, wish);
        }
        let shortages = self.shortages(wish);
        let reservation = Reservation {
            id: wish.id,
            status: if shortages.is_empty() {
                Status::Reserved
            } else {
                Status::Refused
            },
            items: wish.items.clone(),
            expires_at: wish
                .expires_in
                .filter(|_| shortages.is_empty())
                .map(|time| self.now() + time),
            shortages,
        };
        self.record(reservation.clone());
        if reservation.status == Status::Refused {
            return Err(Refusal::InsufficientStock(reservation.shortages));
        }
        let reserved = StockReserved {
            reservation_id: wish.id,
            items: reservation.items.clone(),
            expires_at: reservation.expires_at,
        };
        self.announce(reserved, &wish.cause);
        for item in &reservation.items {
            self.change_level(item.product_id, 0, item.quantity, &wish.cause);
        }
        Ok(reservation)
    }

    /// Sells what a reservation holds.
    pub fn commit(&mut self, id: Uuid, cause: &Cause) -> Result<Reservation, Refusal> {
        self.lapse(id, cause);
        let reservation = self.reservation(id).ok_or(Refusal::UnknownReservation)?;
        match reservation.status {
            Status::Committed => Ok(reservation.clone()),
            Status::Released => Err(Refusal::ReservationReleased),
            Status::Expired => Err(Refusal::ReservationExpired),
            Status::Refused => Err(Refusal::InsufficientStock(reservation.shortages.clone())),
            Status::Reserved => {
                let sold = self.move_to(id, Status::Committed);
                for item in &sold.items {
                    let level = self.change_level(item.product_id, -item.quantity, -item.quantity, cause);
                    self.announce(
                        updated(item.product_id, level, -item.quantity, UpdateCause::Sale, id),
                        cause,
                    );
                }
                Ok(sold)
            }
        }
    }

    /// Gives back what a reservation holds or has sold. An id that nobody knows is remembered as released,
    /// so that its reservation is refused when it comes late.
    pub fn release(&mut self, id: Uuid, cause: &Cause) -> Reservation {
        self.lapse(id, cause);
        let Some(reservation) = self.reservation(id) else {
            let tombstone = Reservation {
                id,
                status: Status::Released,
                items: Vec::new(),
                expires_at: None,
                shortages: Vec::new(),
            };
            self.record(tombstone.clone());
            return tombstone;
        };
        match reservation.status {
            Status::Released | Status::Expired | Status::Refused => reservation.clone(),
            Status::Reserved => self.give_back(id, Status::Released, ReleaseCause::Released, cause),
            Status::Committed => {
                let returned = self.move_to(id, Status::Released);
                self.announce(released(&returned, ReleaseCause::Returned), cause);
                for item in &returned.items {
                    let level = self.change_level(item.product_id, item.quantity, 0, cause);
                    self.announce(
                        updated(item.product_id, level, item.quantity, UpdateCause::Return, id),
                        cause,
                    );
                }
                returned
            }
        }
    }

    /// Gives back what a reservation holds whose time has run out. Anything else it leaves alone: time alone
    /// decides, whether the sweep comes first or somebody who asks for the reservation.
    pub fn lapse(&mut self, id: Uuid, cause: &Cause) {
        if self
            .reservation(id)
            .is_some_and(|reservation| reservation.has_lapsed(self.now()))
        {
            self.give_back(id, Status::Expired, ReleaseCause::Expired, cause);
        }
    }

    /// Changes a product's quantity, unless that would take pieces that are set aside. Both answers are
    /// remembered.
    pub fn adjust(&mut self, wish: &Adjust) -> Result<Adjusted, Refusal> {
        let adjustment = &wish.adjustment;
        if let Some(known) = self.adjustment(adjustment.id) {
            return if known.adjustment == *adjustment {
                answer_of(known.clone())
            } else {
                Err(Refusal::AdjustmentMismatch)
            };
        }
        let level = self.level(adjustment.product_id).ok_or(Refusal::UnknownProduct)?;
        let quantity = level.quantity + adjustment.delta;
        if quantity > MAX_QUANTITY {
            return Err(Refusal::TooMuchStock);
        }
        let applied = quantity >= level.reserved;
        let level = if applied {
            let level = self.change_level(adjustment.product_id, adjustment.delta, 0, &wish.cause);
            let Adjustment {
                id,
                product_id,
                delta,
                ..
            } = adjustment;
            self.announce(
                updated(*product_id, level, *delta, UpdateCause::Adjustment, *id),
                &wish.cause,
            );
            level
        } else {
            Level {
                updated_at: self.now(),
                ..level
            }
        };
        let outcome = Adjusted {
            adjustment: adjustment.clone(),
            applied,
            level,
        };
        self.record_adjustment(outcome.clone());
        answer_of(outcome)
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
    fn give_back(&mut self, id: Uuid, end: Status, why: ReleaseCause, cause: &Cause) -> Reservation {
        let ended = self.move_to(id, end);
        self.announce(released(&ended, why), cause);
        for item in &ended.items {
            self.change_level(item.product_id, 0, -item.quantity, cause);
        }
        ended
    }
}

fn released(reservation: &Reservation, cause: ReleaseCause) -> StockReleased {
    StockReleased {
        reservation_id: reservation.id,
        items: reservation.items.clone(),
        cause,
    }
}

fn updated(
    product_id: ProductId,
    level: Level,
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
fn answer_again(known: &Reservation, wish: &Reserve) -> Result<Reservation, Refusal> {
    // What was released before it came has no items to compare.
    if known.items != wish.items && !known.items.is_empty() {
        return Err(Refusal::ReservationMismatch);
    }
    match known.status {
        Status::Reserved | Status::Committed => Ok(Reservation {
            status: Status::Reserved,
            ..known.clone()
        }),
        Status::Refused => Err(Refusal::InsufficientStock(known.shortages.clone())),
        Status::Released => Err(Refusal::ReservationReleased),
        Status::Expired => Err(Refusal::ReservationExpired),
    }
}

/// The answer that an adjustment's outcome makes.
fn answer_of(outcome: Adjusted) -> Result<Adjusted, Refusal> {
    if outcome.applied {
        return Ok(outcome);
    }
    Err(Refusal::InsufficientStock(vec![Shortage {
        product_id: outcome.adjustment.product_id,
        requested: -outcome.adjustment.delta,
        available: outcome.level.available(),
    }]))
}
