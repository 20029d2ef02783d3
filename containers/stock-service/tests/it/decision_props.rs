//! The decisions, over every interleaving that proptest comes up with.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use domain::ProductId;
use proptest::prelude::*;
use stock_service::model::{Reservation, ReservationStatus, StockError, StockLevel};
use uuid::Uuid;

use crate::reference_model::{LOW_THRESHOLD, Op, Output, ReferenceModel, any_batches, product};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_sums_are_exact_after_every_batch(batches in any_batches()) {
        let mut world = ReferenceModel::new();
        for (seconds, ops) in batches {
            world.now += TimeDelta::seconds(seconds);
            world.apply_batch(&ops);
            world.check_stock_levels()?;
            world.check_events()?;
        }
    }

    /// A batch is no more than its commands one after the other, and what it says has changed is all that
    /// has.
    #[test]
    fn a_batch_decides_like_its_commands_alone(batches in any_batches()) {
        let (mut together, mut alone) = (ReferenceModel::new(), ReferenceModel::new());
        for (seconds, ops) in batches {
            together.now += TimeDelta::seconds(seconds);
            alone.now = together.now;
            let answers = together.apply_batch(&ops);
            let one_by_one: Vec<Output> =
                ops.iter().flat_map(|op| alone.apply_batch(std::slice::from_ref(op))).collect();
            prop_assert_eq!(answers, one_by_one);
            prop_assert_eq!(&together, &alone);
        }
    }

    #[test]
    fn the_first_answer_is_given_again(batches in any_batches()) {
        let mut world = ReferenceModel::new();
        let mut first_answers = BTreeMap::new();
        for (seconds, ops) in batches {
            world.now += TimeDelta::seconds(seconds);
            for op in ops {
                let before = world.clone();
                let answer = world.apply_batch(std::slice::from_ref(&op)).remove(0);
                match (&op, &answer) {
                    (Op::Reserve { id, lines, .. }, Output::Reservation(answer)) => {
                        let first = first_answers.entry(*id).or_insert_with(|| answer.clone());
                        let Some(known) = before.reservations.get(&Uuid::from_u128(*id)) else { continue };
                        let expected = match known.clone().as_of(world.now).status {
                            ReservationStatus::Released if known.items.is_empty() => Err(StockError::ReservationReleased),
                            _ if reserved_quantities(known) != requested_quantities(lines) => Err(StockError::ReservationMismatch),
                            ReservationStatus::Released => Err(StockError::ReservationReleased),
                            ReservationStatus::Expired => Err(StockError::ReservationExpired),
                            ReservationStatus::Reserved | ReservationStatus::Committed | ReservationStatus::Refused => first.clone(),
                        };
                        prop_assert_eq!(answer, &expected);
                    }
                    (Op::Adjust { id, product: number, delta }, Output::Adjustment(answer)) => {
                        let Some(known) = before.adjustments.get(&Uuid::from_u128(*id)) else { continue };
                        let same = (known.adjustment.product_id, known.adjustment.delta) == (product(*number), *delta);
                        match answer {
                            Ok(again) => prop_assert!(same && known.applied && again == known),
                            Err(StockError::InsufficientStock(_)) => prop_assert!(same && !known.applied),
                            other => prop_assert!(!same && *other == Err(StockError::AdjustmentMismatch)),
                        }
                        prop_assert_eq!(&before, &world);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_reservation_holds_all_or_nothing_and_never_more_than_there_is(batches in any_batches()) {
        let mut world = ReferenceModel::new();
        for op in batches.into_iter().flat_map(|(_, ops)| ops) {
            let before = world.clone();
            let answers = world.apply_batch(std::slice::from_ref(&op));
            let (Op::Reserve { id, lines, .. }, Output::Reservation(answer)) = (&op, &answers[0]) else { continue };
            if before.reservations.contains_key(&Uuid::from_u128(*id)) {
                prop_assert_eq!(&before.levels, &world.levels);
                continue;
            }
            let short: Vec<_> = requested_quantities(lines)
                .into_iter()
                .map(|(id, pieces)| (id, pieces, before.levels.get(&id).map_or(0, StockLevel::available)))
                .filter(|(_, pieces, available)| available < pieces)
                .collect();
            match answer {
                Ok(_) => prop_assert!(short.is_empty()),
                Err(StockError::InsufficientStock(named)) => {
                    let named: Vec<_> =
                        named.iter().map(|short| (short.product_id, short.requested, short.available)).collect();
                    prop_assert_eq!(named, short);
                    prop_assert_eq!(&before.levels, &world.levels);
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn low_stock_is_told_once_for_each_fall_below_the_threshold(batches in any_batches()) {
        let mut world = ReferenceModel::new();
        for op in batches.into_iter().flat_map(|(_, ops)| ops) {
            let before = world.clone();
            world.apply_batch(&[op]);
            for (product_id, level) in &world.levels {
                let falls = before.levels[product_id].available() > LOW_THRESHOLD && level.available() <= LOW_THRESHOLD;
                let told = world.count_low_events(*product_id) - before.count_low_events(*product_id);
                prop_assert_eq!(told, usize::from(falls));
            }
        }
    }
}

fn reserved_quantities(reservation: &Reservation) -> BTreeMap<ProductId, i64> {
    reservation
        .items
        .iter()
        .map(|item| (item.product_id, item.quantity))
        .collect()
}

fn requested_quantities(lines: &[(u128, u32)]) -> BTreeMap<ProductId, i64> {
    let mut items = BTreeMap::new();
    for (number, pieces) in lines {
        *items.entry(product(*number)).or_default() += i64::from(*pieces);
    }
    items
}

#[test]
fn an_adjustment_never_leads_past_what_can_be_kept() {
    let mut world = ReferenceModel::new();
    let limit = stock_service::model::MAX_QUANTITY;
    world.levels.get_mut(&product(0)).unwrap().quantity = limit - 1;
    let answers = world.apply_batch(&[
        Op::Adjust {
            id: 1,
            product: 0,
            delta: 2,
        },
        Op::Adjust {
            id: 2,
            product: 0,
            delta: 1,
        },
    ]);
    assert_eq!(
        answers[0],
        Output::Adjustment(Err(StockError::StockLimitExceeded))
    );
    assert!(matches!(&answers[1], Output::Adjustment(Ok(adjusted)) if adjusted.level.quantity == limit));
}
