//! The schedule of a chaos run, generated from a seed before the run starts. The same seed and number of
//! orders give the same schedule; the relative timing of faults and orders depends on the machine.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use fault_injection::{FunctionFault, Upstream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// Classes of products: how many products, and the stock of each as a multiple of the number of orders.
const STOCK_CLASSES: [(usize, f64); 4] = [(3, 0.02), (3, 0.1), (4, 1.0), (10, 4.0)];

/// The demand for each class of [`STOCK_CLASSES`], in percent of the order lines.
const DEMAND_WEIGHTS: [u32; 4] = [12, 18, 35, 35];

/// Payment methods and their share, in percent of the orders without a pinned fault.
const PAYMENT_METHODS: &[(&str, u32)] = &[
    ("pm_card_visa", 39),
    ("pm_card_mastercard", 10),
    ("pm_card_chargeDeclined", 6),
    ("pm_card_chargeDeclinedInsufficientFunds", 4),
    ("pm_card_threeDSecure2Required", 8),
    ("pm_card_authenticationRequired", 2),
    ("pm_card_threeDSecureRequiredChargeDeclined", 2),
    ("pm_card_createDispute", 1),
    ("pm_slow", 4),
    ("pm_error_before_effect", 6),
    ("pm_error_after_effect", 5),
    ("pm_error_after_confirm", 2),
    ("pm_error_before_create", 2),
    ("pm_error_after_create", 1),
    ("pm_error_before_cancel", 1),
    ("pm_error_after_cancel", 1),
    ("pm_unavailable", 3),
    ("pm_broken", 1),
    ("pm_charged_after_cancel", 1),
    ("pm_nonexistent", 1),
];

/// Payment methods of the orders that one of [`PINNED_FAULTS`] makes the saga compensate, and their share in
/// percent. With most of them, the refund fails in some way.
const COMPENSATED_PAYMENT_METHODS: &[(&str, u32)] = &[
    ("pm_card_visa", 40),
    ("pm_error_before_refund", 15),
    ("pm_error_after_refund", 15),
    ("pm_card_refundFail", 15),
    ("pm_card_threeDSecure2Required", 15),
];

/// The payment method of the orders with [`LOST_WEBHOOK`].
const LOST_WEBHOOK_PAYMENT_METHODS: &[(&str, u32)] = &[("pm_card_threeDSecure2Required", 100)];

/// How customers respond when the payment must be authenticated, and their share in percent. The last two
/// keep an order open for the whole time limit and up to a minute longer, so they are few.
const RESPONSES: [(AuthenticationResponse, u32); 6] = [
    (AuthenticationResponse::Approve, 45),
    (AuthenticationResponse::ApproveLater, 15),
    (AuthenticationResponse::Deny, 15),
    (AuthenticationResponse::Cancel, 10),
    (AuthenticationResponse::Leave, 8),
    (AuthenticationResponse::ApproveTooLate, 7),
];

/// The payment provider's events about an order are never accepted. The customer's return or
/// order-reconciler continues the saga instead.
const LOST_WEBHOOK: (&str, FunctionFault) = ("payment-webhook", FunctionFault::ErrorBefore);

/// Faults that make a saga step fail permanently, so that the saga compensates.
const PINNED_FAULTS: [(&str, FunctionFault); 10] = [
    ("create-payment", FunctionFault::ErrorBefore),
    ("create-payment", FunctionFault::ErrorAfter),
    ("reserve-stock", FunctionFault::ErrorAfter),
    ("reserve-stock", FunctionFault::CrashAfter),
    ("process-payment", FunctionFault::ErrorBefore),
    ("process-payment", FunctionFault::ErrorAfter),
    ("update-stock", FunctionFault::TimeoutAfter),
    ("update-stock", FunctionFault::Throttle),
    ("complete-order", FunctionFault::TimeoutBefore),
    ("complete-order", FunctionFault::ErrorAfter),
];

/// One in this many customers is connected over the WebSocket API.
const CONNECTED_SHARE: usize = 3;

/// Each connection adds invocations, also while no order changes.
const MAX_CONNECTED_CUSTOMERS: usize = 60;

/// What requests to the management API of the WebSocket connections contain.
const MANAGEMENT_API: &str = "/@connections/";

/// What requests to the table of connections contain.
const CONNECTIONS_TABLE: &str = "ecommerce-connections";

#[derive(Debug)]
pub struct Schedule {
    /// The seed of the random faults.
    pub seed: u64,
    /// The initial stock of each product, in units.
    pub stock: Vec<i64>,
    /// The number of customers that place several orders.
    pub customers: usize,
    /// The indexes of the customers that are connected over the WebSocket API from their first purchase on.
    pub connected_customers: BTreeSet<usize>,
    /// In the order in which they are sent.
    pub purchases: Vec<Purchase>,
    /// Each disruption starts when this many orders have been sent; in ascending order.
    pub disruptions: Vec<(usize, Disruption)>,
    /// One in this many events is replayed immediately, and as many are replayed later.
    pub replay_ratio: u32,
}

/// An order and the behaviour of its client.
#[derive(Debug)]
pub struct Purchase {
    /// The index of the customer; indexes beyond [`Schedule::customers`] stand for a new customer.
    pub customer: usize,
    /// Product indexes and quantities; two lines may have the same product.
    pub lines: Vec<(usize, u32)>,
    pub payment_method: &'static str,
    pub authentication: AuthenticationResponse,
    /// Whether the customer's browser returns to the shop after the authentication.
    pub returns_to_shop: bool,
    pub send_mode: SendMode,
    /// How long after the response the customer cancels the order.
    pub cancel_after: Option<Duration>,
    /// The function that fails in each order of the customer.
    pub pinned_fault: Option<(&'static str, FunctionFault)>,
}

/// How a client sends an order. In all modes it retries until it receives a definite response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendMode {
    Once,
    /// Two requests at the same time with the same idempotency key.
    TwiceConcurrently,
    /// A second request with the same key after the order has ended.
    RepeatedLater,
    /// A different order with the same key, which the API must reject.
    KeyReusedLater,
}

/// How a customer responds when the payment must be authenticated (3D Secure).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationResponse {
    /// Approves the payment at once.
    Approve,
    /// Approves the payment when half of the time has passed.
    ApproveLater,
    Deny,
    /// Closes the page and cancels the order.
    Cancel,
    /// Closes the page and does nothing.
    Leave,
    /// Approves the payment after the time has passed, if that is still possible.
    ApproveTooLate,
}

/// A fault of a whole service or upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disruption {
    /// `kill -9` of the service with this name.
    Kill(&'static str),
    /// The upstream refuses all connections for the duration.
    Outage(Upstream, Duration),
    /// AWS refuses all requests that contain this text, for the duration.
    PartialOutage(&'static str, Duration),
    /// The upstream responds to all requests with this delay in milliseconds, for the duration.
    Latency(Upstream, u64, Duration),
}

impl Schedule {
    /// Generates the schedule of a run with `orders` purchases.
    pub fn generate(orders: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let units = |share: f64| ((orders as f64 * share) as i64).max(2);
        let stock: Vec<i64> = STOCK_CLASSES
            .iter()
            .flat_map(|(count, share)| std::iter::repeat_n(units(*share), *count))
            .collect();
        let customers = (orders / 10).max(5);
        let purchases: Vec<Purchase> = (0..orders)
            .map(|number| generate_purchase(&mut rng, number, customers))
            .collect();
        Self {
            seed,
            stock,
            customers,
            connected_customers: choose_connected_customers(&purchases),
            purchases,
            disruptions: generate_disruptions(&mut rng, orders),
            replay_ratio: 20,
        }
    }
}

fn choose_connected_customers(purchases: &[Purchase]) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    let customers = purchases.iter().map(|purchase| purchase.customer);
    customers
        .filter(|customer| seen.insert(*customer))
        .step_by(CONNECTED_SHARE)
        .take(MAX_CONNECTED_CUSTOMERS)
        .collect()
}

fn generate_purchase(rng: &mut StdRng, number: usize, customers: usize) -> Purchase {
    let (pinned_fault, payment_methods) = match rng.random_range(0..1000) {
        0..50 => (PINNED_FAULTS.choose(rng).copied(), COMPENSATED_PAYMENT_METHODS),
        50..65 => (Some(LOST_WEBHOOK), LOST_WEBHOOK_PAYMENT_METHODS),
        _ => (None, PAYMENT_METHODS),
    };
    let mut lines: Vec<(usize, u32)> = (0..rng.random_range(1..=3))
        .map(|_| (pick_product(rng), rng.random_range(1..=3)))
        .collect();
    if rng.random_ratio(1, 6) {
        lines.push((lines[0].0, 1));
    }
    Purchase {
        // The fault applies to all orders of the customer, so the customer must have no other order.
        customer: if pinned_fault.is_some() {
            customers + number
        } else {
            rng.random_range(0..customers)
        },
        lines,
        payment_method: weighted_choice(rng, payment_methods),
        authentication: weighted_choice(rng, &RESPONSES),
        returns_to_shop: rng.random_ratio(1, 2),
        send_mode: weighted_choice(
            rng,
            &[
                (SendMode::Once, 70),
                (SendMode::TwiceConcurrently, 15),
                (SendMode::RepeatedLater, 12),
                (SendMode::KeyReusedLater, 3),
            ],
        ),
        cancel_after: rng
            .random_ratio(1, 10)
            .then(|| Duration::from_millis(rng.random_range(0..2000))),
        pinned_fault,
    }
}

/// Picks a product class by its demand, and a product of this class.
fn pick_product(rng: &mut StdRng) -> usize {
    let classes: Vec<(usize, u32)> = DEMAND_WEIGHTS.into_iter().enumerate().collect();
    let class = weighted_choice(rng, &classes);
    let first: usize = STOCK_CLASSES[..class].iter().map(|(count, _)| count).sum();
    first + rng.random_range(0..STOCK_CLASSES[class].0)
}

fn weighted_choice<T: Copy>(rng: &mut StdRng, choices: &[(T, u32)]) -> T {
    let chosen = choices.choose_weighted(rng, |(_, weight)| *weight);
    chosen.expect("the weights are positive").0
}

/// Distributes the disruptions at equal intervals, in random order. Every disruption occurs once before one
/// repeats.
fn generate_disruptions(rng: &mut StdRng, orders: usize) -> Vec<(usize, Disruption)> {
    let interval = (orders / 100).clamp(14, 60);
    let mut all = vec![
        Disruption::Kill("core-api"),
        Disruption::Kill("stock-service"),
        Disruption::Kill("postgres"),
    ];
    all.extend(
        [Upstream::Aws, Upstream::StockService, Upstream::PaymentProvider]
            .map(|upstream| Disruption::Outage(upstream, random_seconds(rng, 1..=4))),
    );
    all.extend(
        [MANAGEMENT_API, CONNECTIONS_TABLE]
            .map(|text| Disruption::PartialOutage(text, random_seconds(rng, 1..=4))),
    );
    all.push(Disruption::Latency(
        Upstream::Aws,
        400,
        random_seconds(rng, 1..=3),
    ));
    all.push(Disruption::Latency(
        Upstream::Postgres,
        300,
        random_seconds(rng, 1..=3),
    ));
    let mut scheduled = Vec::new();
    let mut remaining = Vec::new();
    for at in (interval..orders).step_by(interval) {
        if remaining.is_empty() {
            remaining.clone_from(&all);
        }
        scheduled.push((at, remaining.swap_remove(rng.random_range(0..remaining.len()))));
    }
    scheduled
}

fn random_seconds(rng: &mut StdRng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_secs(rng.random_range(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_depends_on_the_seed_only() {
        let schedule = |seed| format!("{:?}", Schedule::generate(300, seed));
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(
            schedule(7).replace("seed: 7", ""),
            schedule(8).replace("seed: 8", "")
        );
    }

    #[test]
    fn run_of_3000_orders_has_every_payment_method_and_response() {
        let schedule = Schedule::generate(3000, 1);
        for list in [
            PAYMENT_METHODS,
            COMPENSATED_PAYMENT_METHODS,
            LOST_WEBHOOK_PAYMENT_METHODS,
        ] {
            assert_eq!(list.iter().map(|(_, percent)| percent).sum::<u32>(), 100);
            for (method, _) in list {
                let mut purchases = schedule.purchases.iter();
                assert!(
                    purchases.any(|purchase| purchase.payment_method == *method),
                    "{method}"
                );
            }
        }
        for (response, _) in RESPONSES {
            let is_chosen = |purchase: &Purchase| {
                purchase.authentication == response
                    && ["pm_card_threeDSecure2Required", "pm_card_authenticationRequired"]
                        .contains(&purchase.payment_method)
            };
            assert!(schedule.purchases.iter().any(is_chosen), "{response:?}");
        }
        let lost_webhooks = schedule
            .purchases
            .iter()
            .filter(|purchase| purchase.pinned_fault == Some(LOST_WEBHOOK));
        assert!(lost_webhooks.count() > 10);
    }

    #[test]
    fn run_of_150_orders_has_every_disruption() {
        let schedule = Schedule::generate(150, 1);
        let mut kinds: Vec<String> = schedule
            .disruptions
            .iter()
            .map(|(_, disruption)| format!("{disruption:?}"))
            .collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), 10, "{kinds:?}");
        // Also one whose saga compensates because of a pinned fault.
        let is_connected = |purchase: &&Purchase| schedule.connected_customers.contains(&purchase.customer);
        let connected = schedule.purchases.iter().filter(is_connected);
        assert!(connected.clone().count() > 20);
        assert!(connected.clone().any(|purchase| purchase.pinned_fault.is_some()));
        assert!(
            schedule
                .purchases
                .iter()
                .any(|purchase| purchase.pinned_fault.is_some())
        );
        let products = schedule.purchases.iter().flat_map(|purchase| &purchase.lines);
        assert!(
            products
                .clone()
                .all(|(product, _)| *product < schedule.stock.len())
        );
    }
}
