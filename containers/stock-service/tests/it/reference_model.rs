//! Reference model: an in-memory replacement of the database for property tests. Each batch sees only the
//! rows that its commands declare as affected, and only the changes that it returns are written back.

use std::collections::{BTreeMap, BTreeSet};

use domain::{ProductId, Quantity, Timestamp};
use events::{EventContext, OutboxEvent, TraceParent};
use proptest::prelude::*;
use serde_json::Value;
use stock_service::{
    engine::{
        AffectedRows, BatchState, Command, Engine, Snapshot,
        commands::{Adjust, Commit, Expire, Release, Reserve},
    },
    model::{Adjustment, AdjustmentOutcome, Reservation, ReservationStatus, StockError, StockLevel},
};
use uuid::Uuid;

const PRODUCTS: u128 = 4;
pub const LOW_THRESHOLD: i64 = 5;

#[derive(Clone, Debug)]
pub enum Op {
    Reserve {
        id: u128,
        lines: Vec<(u128, u32)>,
        expires_in: Option<u32>,
    },
    Commit(u128),
    Release(u128),
    Expire(u128),
    Adjust {
        id: u128,
        product: u128,
        delta: i64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Reservation(Result<Reservation, StockError>),
    Adjustment(Result<AdjustmentOutcome, StockError>),
    Expired,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceModel {
    pub now: Timestamp,
    pub levels: BTreeMap<ProductId, StockLevel>,
    pub reservations: BTreeMap<Uuid, Reservation>,
    pub adjustments: BTreeMap<Uuid, AdjustmentOutcome>,
    pub events: Vec<Value>,
}

pub fn product(number: u128) -> ProductId {
    ProductId(Uuid::from_u128(0xA0 + number))
}

fn context(id: u128) -> EventContext {
    let traceparent: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        .parse()
        .unwrap();
    EventContext {
        correlation_id: Uuid::from_u128(id),
        causation_id: None,
        traceparent,
    }
}

fn reserve(id: u128, lines: &[(u128, u32)], expires_in: Option<u32>) -> Reserve {
    let lines = lines
        .iter()
        .map(|(number, quantity)| (product(*number), Quantity::new(*quantity).unwrap()));
    Reserve::new(Uuid::from_u128(id), lines, expires_in, context(id)).unwrap()
}

fn adjust(id: u128, number: u128, delta: i64) -> Adjust {
    let adjustment = Adjustment {
        id: Uuid::from_u128(id),
        product_id: product(number),
        delta,
        reason: "counted".into(),
    };
    Adjust::new(adjustment, context(id)).unwrap()
}

impl ReferenceModel {
    pub fn new() -> Self {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let empty = StockLevel {
            quantity: 0,
            reserved: 0,
            updated_at: now,
        };
        Self {
            now,
            levels: (0..PRODUCTS).map(|number| (product(number), empty)).collect(),
            reservations: BTreeMap::new(),
            adjustments: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Does in memory what the store does for a batch.
    pub fn apply_batch(&mut self, ops: &[Op]) -> Vec<Output> {
        let mut rows = AffectedRows::default();
        ops.iter().for_each(|op| op.affected_rows(&mut rows));
        let reservations = select(&self.reservations, &rows.reservations);
        let held = reservations
            .values()
            .flat_map(|adjustment_outcome| adjustment_outcome.items.iter().map(|item| item.product_id));
        let products = rows.products.iter().copied().chain(held).collect();
        let mut state = BatchState::new(Snapshot {
            now: self.now,
            low_threshold: LOW_THRESHOLD,
            levels: select(&self.levels, &products),
            adjustments: select(&self.adjustments, &rows.adjustments),
            reservations,
        });
        let outputs = ops.iter().map(|op| op.decide(&mut state)).collect();

        let changes = state.into_changes();
        for change in changes.levels {
            assert_eq!(
                self.levels.insert(change.id, change.to),
                Some(change.from),
                "the expected old level matches the stored one"
            );
        }
        for new in changes.new_reservations {
            assert!(
                self.reservations.insert(new.id, new).is_none(),
                "a new reservation does not exist yet"
            );
        }
        for change in changes.updated_reservations {
            let reservation = self
                .reservations
                .get_mut(&change.id)
                .expect("an updated reservation exists");
            assert_eq!(
                reservation.status, change.from,
                "the expected old status matches the stored one"
            );
            reservation.status = change.to;
        }
        for new in changes.new_adjustments {
            assert!(
                self.adjustments.insert(new.adjustment.id, new).is_none(),
                "a new adjustment does not exist yet"
            );
        }
        self.events.extend(changes.events.iter().map(event_without_id));
        outputs
    }

    /// Total quantity of a product in the reservations with that status.
    fn quantity_in_status(&self, product_id: ProductId, status: ReservationStatus) -> i64 {
        let reservations = self
            .reservations
            .values()
            .filter(|reservation| reservation.status == status);
        let items = reservations.flat_map(|reservation| &reservation.items);
        items
            .filter(|item| item.product_id == product_id)
            .map(|item| item.quantity)
            .sum()
    }

    pub fn check_stock_levels(&self) -> Result<(), TestCaseError> {
        for (product_id, level) in &self.levels {
            let adjusted: i64 = self
                .adjustments
                .values()
                .filter(|adjustment_outcome| {
                    adjustment_outcome.applied && adjustment_outcome.adjustment.product_id == *product_id
                })
                .map(|adjustment_outcome| adjustment_outcome.adjustment.delta)
                .sum();
            prop_assert_eq!(
                level.quantity,
                adjusted - self.quantity_in_status(*product_id, ReservationStatus::Committed)
            );
            prop_assert_eq!(
                level.reserved,
                self.quantity_in_status(*product_id, ReservationStatus::Reserved)
            );
            prop_assert!(level.reserved >= 0, "{:?}", level);
            prop_assert!(level.available() >= 0, "{:?}", level);
        }
        Ok(())
    }

    /// Levels rebuilt from the events alone equal the stored levels.
    pub fn check_events(&self) -> Result<(), TestCaseError> {
        let mut from_events = BTreeMap::<String, (i64, i64)>::new();
        for event in &self.events {
            let data = &event["data"];
            let sign = match (event["type"].as_str(), data["cause"].as_str()) {
                (Some("StockReserved"), _) => 1,
                (Some("StockReleased"), Some("released" | "expired")) => -1,
                _ => 0,
            };
            for item in data["items"].as_array().into_iter().flatten() {
                from_events.entry(text(&item["product_id"])).or_default().1 += sign * int(&item["quantity"]);
            }
            if event["type"] == "StockUpdated" {
                let (quantity, reserved) = from_events.entry(text(&data["product_id"])).or_default();
                *quantity += int(&data["delta"]);
                if data["cause"] == "sale" {
                    *reserved += int(&data["delta"]);
                }
                prop_assert_eq!(
                    (*quantity, *reserved),
                    (int(&data["quantity"]), int(&data["reserved"]))
                );
            }
        }
        for (product_id, level) in &self.levels {
            let from_events = from_events
                .get(&product_id.to_string())
                .copied()
                .unwrap_or_default();
            prop_assert_eq!(from_events, (level.quantity, level.reserved));
        }
        Ok(())
    }

    pub fn count_low_events(&self, product_id: ProductId) -> usize {
        let low = self.events.iter().filter(|event| event["type"] == "StockLow");
        low.filter(|event| event["data"]["product_id"] == product_id.to_string())
            .count()
    }
}

impl Op {
    fn affected_rows(&self, rows: &mut AffectedRows) {
        match self {
            Self::Reserve {
                id,
                lines,
                expires_in,
            } => reserve(*id, lines, *expires_in).affected_rows(rows),
            Self::Commit(id) => Commit {
                id: Uuid::from_u128(*id),
                context: context(*id),
            }
            .affected_rows(rows),
            Self::Release(id) => Release {
                id: Uuid::from_u128(*id),
                context: context(*id),
            }
            .affected_rows(rows),
            Self::Expire(id) => Expire {
                id: Uuid::from_u128(*id),
                context: context(*id),
            }
            .affected_rows(rows),
            Self::Adjust { id, product, delta } => adjust(*id, *product, *delta).affected_rows(rows),
        }
    }

    /// Submits the operation to the real engine.
    pub async fn submit_to(&self, engine: &Engine) -> Output {
        let id = |id: &u128| (Uuid::from_u128(*id), context(*id));
        match self {
            Self::Reserve {
                id,
                lines,
                expires_in,
            } => Output::Reservation(engine.submit(reserve(*id, lines, *expires_in)).await.unwrap()),
            Self::Commit(number) => {
                let (id, context) = id(number);
                Output::Reservation(engine.submit(Commit { id, context }).await.unwrap())
            }
            Self::Release(number) => {
                let (id, context) = id(number);
                Output::Reservation(Ok(engine.submit(Release { id, context }).await.unwrap()))
            }
            Self::Expire(number) => {
                let (id, context) = id(number);
                engine.submit(Expire { id, context }).await.unwrap();
                Output::Expired
            }
            Self::Adjust { id, product, delta } => {
                Output::Adjustment(engine.submit(adjust(*id, *product, *delta)).await.unwrap())
            }
        }
    }

    fn decide(&self, state: &mut BatchState) -> Output {
        match self {
            Self::Reserve {
                id,
                lines,
                expires_in,
            } => Output::Reservation(reserve(*id, lines, *expires_in).decide(state)),
            Self::Commit(id) => Output::Reservation(
                Commit {
                    id: Uuid::from_u128(*id),
                    context: context(*id),
                }
                .decide(state),
            ),
            Self::Release(id) => Output::Reservation(Ok(Release {
                id: Uuid::from_u128(*id),
                context: context(*id),
            }
            .decide(state))),
            Self::Expire(id) => {
                Expire {
                    id: Uuid::from_u128(*id),
                    context: context(*id),
                }
                .decide(state);
                Output::Expired
            }
            Self::Adjust { id, product, delta } => {
                Output::Adjustment(adjust(*id, *product, *delta).decide(state))
            }
        }
    }
}

fn select<K: Ord + Copy, V: Clone>(all: &BTreeMap<K, V>, keys: &BTreeSet<K>) -> BTreeMap<K, V> {
    keys.iter()
        .filter_map(|key| Some((*key, all.get(key)?.clone())))
        .collect()
}

/// Removes the event id, the only random part of an event.
fn event_without_id(outbox_event: &OutboxEvent) -> Value {
    let mut detail: Value = serde_json::from_str(&outbox_event.detail).unwrap();
    detail["event_id"].take();
    detail["type"] = outbox_event.detail_type.clone().into();
    detail
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn any_op() -> impl Strategy<Value = Op> {
    // Few ids and little stock, so that most operations collide with earlier ones. The last product has no
    // stock row.
    let id = 1..=8_u128;
    let lines = prop::collection::vec((0..=PRODUCTS, 1..=9_u32), 1..4);
    prop_oneof![
        6 => (id.clone(), lines, prop::option::of(1..=4_u32))
            .prop_map(|(id, lines, expires_in)| Op::Reserve { id, lines, expires_in }),
        3 => id.clone().prop_map(Op::Commit),
        2 => id.clone().prop_map(Op::Release),
        2 => id.prop_map(Op::Expire),
        4 => (1..=12_u128, 0..=PRODUCTS, (-15..=40_i64).prop_filter("delta is not 0", |delta| *delta != 0))
            .prop_map(|(id, product, delta)| Op::Adjust { id, product, delta }),
    ]
}

/// Batches, each with the seconds that pass before it.
pub fn any_batches() -> impl Strategy<Value = Vec<(i64, Vec<Op>)>> {
    prop::collection::vec((0..=2_i64, prop::collection::vec(any_op(), 1..10)), 1..12)
}
