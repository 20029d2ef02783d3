//! Property tests of the engine's decisions over random command sequences.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use domain::ProductId;
use proptest::prelude::*;
use stock_service::model::{Reservation, ReservationStatus, Shortage, StockError, StockLevel};
use uuid::Uuid;

use crate::reference_model::{LOW_THRESHOLD, Op, Output, ReferenceModel, any_batches, product};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn levels_and_events_are_consistent_after_every_batch(batches in any_batches()) {
        let mut model = ReferenceModel::new();
        for (seconds, ops) in batches {
            model.now += TimeDelta::seconds(seconds);
            model.apply_batch(&ops);
            model.check_stock_levels()?;
            model.check_events()?;
        }
    }

    /// A batch has the same result as its commands in separate batches, and reports all its changes.
    #[test]
    fn batch_equals_sequential_commands(batches in any_batches()) {
        let (mut batched, mut sequential) = (ReferenceModel::new(), ReferenceModel::new());
        for (seconds, ops) in batches {
            batched.now += TimeDelta::seconds(seconds);
            sequential.now = batched.now;
            let outputs = batched.apply_batch(&ops);
            let sequential_outputs: Vec<Output> =
                ops.iter().flat_map(|op| sequential.apply_batch(std::slice::from_ref(op))).collect();
            prop_assert_eq!(outputs, sequential_outputs);
            prop_assert_eq!(&batched, &sequential);
        }
    }

    #[test]
    fn repeated_commands_return_the_first_result(batches in any_batches()) {
        let mut model = ReferenceModel::new();
        let mut first_outputs = BTreeMap::new();
        for (seconds, ops) in batches {
            model.now += TimeDelta::seconds(seconds);
            for op in ops {
                let before = model.clone();
                let output = model.apply_batch(std::slice::from_ref(&op)).remove(0);
                match (&op, &output) {
                    (Op::Reserve { id, lines, .. }, Output::Reservation(output)) => {
                        if let Err(StockError::StockHeld(_)) = output {
                            prop_assert_eq!(&before, &model);
                            prop_assert!(!before.reservations.contains_key(&Uuid::from_u128(*id)));
                            continue;
                        }
                        let first = first_outputs.entry(*id).or_insert_with(|| output.clone());
                        let Some(known) = before.reservations.get(&Uuid::from_u128(*id)) else { continue };
                        let same = reserved_quantities(known) == requested_quantities(lines);
                        let expected = match known.clone().as_of(model.now).status {
                            ReservationStatus::Released if known.items.is_empty() => {
                                Err(StockError::ReservationReleased)
                            }
                            _ if !same => Err(StockError::ReservationMismatch),
                            ReservationStatus::Released => Err(StockError::ReservationReleased),
                            ReservationStatus::Expired => Err(StockError::ReservationExpired),
                            ReservationStatus::Reserved
                            | ReservationStatus::Committed
                            | ReservationStatus::Refused => first.clone(),
                        };
                        prop_assert_eq!(output, &expected);
                    }
                    (Op::Adjust { id, product: number, delta }, Output::Adjustment(output)) => {
                        let Some(known) = before.adjustments.get(&Uuid::from_u128(*id)) else { continue };
                        let stored = (known.adjustment.product_id, known.adjustment.delta);
                        let same = stored == (product(*number), *delta);
                        match output {
                            Ok(again) => prop_assert!(same && known.applied && again == known),
                            Err(StockError::InsufficientStock(_)) => prop_assert!(same && !known.applied),
                            other => prop_assert!(!same && *other == Err(StockError::AdjustmentMismatch)),
                        }
                        prop_assert_eq!(&before, &model);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn reservations_are_all_or_nothing_and_never_oversell(batches in any_batches()) {
        let mut model = ReferenceModel::new();
        for op in batches.into_iter().flat_map(|(_, ops)| ops) {
            let before = model.clone();
            let outputs = model.apply_batch(std::slice::from_ref(&op));
            let (Op::Reserve { id, lines, .. }, Output::Reservation(output)) = (&op, &outputs[0]) else {
                continue;
            };
            if before.reservations.contains_key(&Uuid::from_u128(*id)) {
                prop_assert_eq!(&before.levels, &model.levels);
                continue;
            }
            let short: Vec<_> = requested_quantities(lines)
                .into_iter()
                .map(|(id, quantity)| (id, quantity, before.levels.get(&id).map_or(0, StockLevel::available)))
                .filter(|(_, quantity, available)| available < quantity)
                .collect();
            // Without the open reservations there would be enough of each product.
            let held = short
                .iter()
                .all(|(id, quantity, _)| before.levels.get(id).is_some_and(|level| level.quantity >= *quantity));
            match output {
                Ok(_) => prop_assert!(short.is_empty()),
                Err(StockError::InsufficientStock(reported)) => {
                    prop_assert!(!held);
                    prop_assert_eq!(reported_shortages(reported), short);
                    prop_assert_eq!(&before.levels, &model.levels);
                }
                Err(StockError::StockHeld(reported)) => {
                    prop_assert!(held);
                    prop_assert_eq!(reported_shortages(reported), short);
                    prop_assert_eq!(&before, &model);
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn stock_low_is_emitted_once_per_fall_to_the_threshold(batches in any_batches()) {
        let mut model = ReferenceModel::new();
        for op in batches.into_iter().flat_map(|(_, ops)| ops) {
            let before = model.clone();
            model.apply_batch(&[op]);
            for (product_id, level) in &model.levels {
                let was_above = before.levels[product_id].available() > LOW_THRESHOLD;
                let falls = was_above && level.available() <= LOW_THRESHOLD;
                let emitted = model.count_low_events(*product_id) - before.count_low_events(*product_id);
                prop_assert_eq!(emitted, usize::from(falls));
            }
        }
    }
}

fn reported_shortages(shortages: &[Shortage]) -> Vec<(ProductId, i64, i64)> {
    shortages
        .iter()
        .map(|short| (short.product_id, short.requested, short.available))
        .collect()
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
    for (number, quantity) in lines {
        *items.entry(product(*number)).or_default() += i64::from(*quantity);
    }
    items
}

#[test]
fn adjustments_cannot_exceed_max_quantity() {
    let mut model = ReferenceModel::new();
    let limit = stock_service::model::MAX_QUANTITY;
    model.levels.get_mut(&product(0)).unwrap().quantity = limit - 1;
    let outputs = model.apply_batch(&[
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
        outputs[0],
        Output::Adjustment(Err(StockError::StockLimitExceeded))
    );
    assert!(matches!(&outputs[1], Output::Adjustment(Ok(adjusted)) if adjusted.level.quantity == limit));
}
