//! What a run will do, drawn from its seed before it begins: the same seed and number of orders give the same plan.
//! When something hits relative to everything else depends on the machine.

use std::{ops::RangeInclusive, time::Duration};

use fault_injection::{FunctionFault, Upstream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// How many pieces there are of each product, as a multiple of the orders: few of some, enough of most.
const STOCK_CLASSES: [(usize, f64); 4] = [(3, 0.02), (3, 0.1), (4, 1.0), (10, 4.0)];

/// The share of orders that want a product of each kind of [`STOCK`]: half of all buyers want what is hot or scarce.
const DEMAND_WEIGHTS: [u32; 4] = [12, 18, 35, 35];

/// Payment methods, and how many of a hundred customers pay so.
const PAYMENT_METHODS: [(&str, u32); 10] = [
    ("pm_card_visa", 55),
    ("pm_card_mastercard", 13),
    ("pm_card_chargeDeclined", 6),
    ("pm_card_chargeDeclinedInsufficientFunds", 4),
    ("pm_slow", 4),
    ("pm_error_before_effect", 6),
    ("pm_error_after_effect", 6),
    ("pm_unavailable", 3),
    ("pm_broken", 2),
    ("pm_nobody_knows_it", 1),
];

/// Faults that never let a step of an order's saga succeed, so that it turns back.
const PINNED_FAULTS: [(&str, FunctionFault); 8] = [
    ("reserve-stock", FunctionFault::ErrorAfter),
    ("reserve-stock", FunctionFault::CrashAfter),
    ("process-payment", FunctionFault::ErrorBefore),
    ("process-payment", FunctionFault::ErrorAfter),
    ("update-stock", FunctionFault::TimeoutAfter),
    ("update-stock", FunctionFault::Throttle),
    ("complete-order", FunctionFault::TimeoutBefore),
    ("complete-order", FunctionFault::ErrorAfter),
];

/// Everything that a run will do.
#[derive(Debug)]
pub struct Schedule {
    /// What the draws of the share of random faults follow from.
    pub seed: u64,
    /// Pieces of each product.
    pub stock: Vec<i64>,
    /// How many customers there are.
    pub customers: usize,
    /// The orders, in the order in which they are sent.
    pub purchases: Vec<Purchase>,
    /// What happens once so many orders have been sent, by rising number.
    pub disruptions: Vec<(usize, Disruption)>,
    /// One in so many events is said again at once, and another as many once the run has gone on.
    pub replay_ratio: u32,
}

/// An order as its customer wants it.
#[derive(Debug)]
pub struct Purchase {
    /// Who buys.
    pub customer: usize,
    /// Products and pieces, line by line; a product may stand on two.
    pub lines: Vec<(usize, u32)>,
    /// How it is paid.
    pub payment_method: &'static str,
    /// How it is sent.
    pub send_mode: SendMode,
    /// How long after the answer the customer takes it back.
    pub cancel_after: Option<Duration>,
    /// The step of its saga that never succeeds.
    pub pinned_fault: Option<(&'static str, FunctionFault)>,
}

/// How a client sends an order. Whatever it is, it goes on until there is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendMode {
    /// As one does.
    Once,
    /// Twice at the same moment, with the same key.
    TwiceConcurrently,
    /// Once more later, with the same key.
    RepeatedLater,
    /// Then another order with the same key, which must be refused.
    KeyReusedLater,
}

/// What befalls the whole system at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disruption {
    /// A program is killed with `kill -9`.
    Kill(&'static str),
    /// Something answers nobody for a while.
    Outage(Upstream, Duration),
    /// Something answers everybody late for a while, by so many milliseconds.
    Latency(Upstream, u64, Duration),
}

impl Schedule {
    /// The plan of a run of so many orders.
    pub fn generate(orders: usize, seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let pieces = |share: f64| ((orders as f64 * share) as i64).max(2);
        let stock: Vec<i64> = STOCK_CLASSES
            .iter()
            .flat_map(|(count, share)| std::iter::repeat_n(pieces(*share), *count))
            .collect();
        let customers = (orders / 10).max(5);
        let purchases = (0..orders)
            .map(|number| generate_purchase(&mut dice, number, customers))
            .collect();
        Self {
            seed,
            stock,
            customers,
            purchases,
            disruptions: generate_disruptions(&mut dice, orders),
            replay_ratio: 20,
        }
    }
}

fn generate_purchase(dice: &mut StdRng, number: usize, customers: usize) -> Purchase {
    let cursed = dice.random_ratio(1, 20);
    let mut lines: Vec<(usize, u32)> = (0..dice.random_range(1..=3))
        .map(|_| (pick_product(dice), dice.random_range(1..=3)))
        .collect();
    if dice.random_ratio(1, 6) {
        lines.push((lines[0].0, 1));
    }
    Purchase {
        // Who is cursed is so in every order; it must be nobody else's.
        customer: if cursed {
            customers + number
        } else {
            dice.random_range(0..customers)
        },
        lines,
        payment_method: weighted_choice(dice, &PAYMENT_METHODS),
        send_mode: weighted_choice(
            dice,
            &[
                (SendMode::Once, 70),
                (SendMode::TwiceConcurrently, 15),
                (SendMode::RepeatedLater, 12),
                (SendMode::KeyReusedLater, 3),
            ],
        ),
        cancel_after: dice
            .random_ratio(1, 10)
            .then(|| Duration::from_millis(dice.random_range(0..2000))),
        pinned_fault: cursed.then(|| *PINNED_FAULTS.choose(dice).expect("there are curses")),
    }
}

/// A product by the demand for its kind.
fn pick_product(dice: &mut StdRng) -> usize {
    let kinds: Vec<(usize, u32)> = DEMAND_WEIGHTS.into_iter().enumerate().collect();
    let kind = weighted_choice(dice, &kinds);
    let first: usize = STOCK_CLASSES[..kind].iter().map(|(count, _)| count).sum();
    first + dice.random_range(0..STOCK_CLASSES[kind].0)
}

fn weighted_choice<T: Copy>(dice: &mut StdRng, choices: &[(T, u32)]) -> T {
    let chosen = choices.choose_weighted(dice, |(_, weight)| *weight);
    chosen.expect("the weights are numbers above zero").0
}

/// Blows at intervals: each kind of kill and outage once, then at random.
fn generate_disruptions(dice: &mut StdRng, orders: usize) -> Vec<(usize, Disruption)> {
    let interval = (orders / 100).clamp(16, 60);
    let mut all = vec![
        Disruption::Kill("core-api"),
        Disruption::Kill("stock-service"),
        Disruption::Kill("postgres"),
    ];
    all.extend(
        [Upstream::Aws, Upstream::StockService, Upstream::PaymentProvider]
            .map(|upstream| Disruption::Outage(upstream, random_seconds(dice, 1..=4))),
    );
    all.push(Disruption::Latency(
        Upstream::Aws,
        400,
        random_seconds(dice, 1..=3),
    ));
    all.push(Disruption::Latency(
        Upstream::Postgres,
        300,
        random_seconds(dice, 1..=3),
    ));
    let mut hits = Vec::new();
    let mut left = Vec::new();
    for at in (interval..orders).step_by(interval) {
        if left.is_empty() {
            left.clone_from(&all);
        }
        hits.push((at, left.swap_remove(dice.random_range(0..left.len()))));
    }
    hits
}

fn random_seconds(dice: &mut StdRng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_secs(dice.random_range(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_another() {
        let plan = |seed| format!("{:?}", Schedule::generate(300, seed));
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7).replace("seed: 7", ""), plan(8).replace("seed: 8", ""));
    }

    #[test]
    fn a_run_of_the_tests_size_has_every_kind_of_blow() {
        let plan = Schedule::generate(150, 1);
        let mut kinds: Vec<String> = plan
            .disruptions
            .iter()
            .map(|(_, blow)| format!("{blow:?}"))
            .collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), 8, "{kinds:?}");
        assert!(
            plan.purchases
                .iter()
                .any(|purchase| purchase.pinned_fault.is_some())
        );
        let products = plan.purchases.iter().flat_map(|purchase| &purchase.lines);
        assert!(products.clone().all(|(product, _)| *product < plan.stock.len()));
    }
}
