//! The result of a chaos run, for people (`Display`) and for programs (JSON).

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use domain::OrderId;
use e2e::consistency::{ClientObservation, ConsistencyReport, SystemSnapshot};
use orders::Order;
use serde::Serialize;

use crate::connected_customer::ConnectionReport;

#[derive(Debug, Serialize)]
pub struct ChaosReport {
    /// The seed of all random choices.
    pub seed: u64,
    /// The number of purchases in the schedule.
    pub orders: usize,
    /// From the first request to the last response or status poll.
    pub load_seconds: f64,
    /// From the end of the load to quiescence.
    pub settle_seconds: f64,
    /// How often each fault, disruption or repetition happened.
    pub injected: BTreeMap<String, u64>,
    /// Messages moved back to their source queue, by dead-letter queue.
    pub redriven: BTreeMap<&'static str, u64>,
    /// The number of orders by final status and failure reason.
    pub outcomes: BTreeMap<String, usize>,
    /// The number of orders whose customer had to authenticate the payment, by response and outcome.
    pub authentications: BTreeMap<String, usize>,
    pub connections: ConnectionReport,
    /// Responses and WebSocket messages that the system must never send.
    pub unexpected_responses: Vec<String>,
    /// Why the system did not become quiescent; `None` when it did.
    pub not_quiescent: Option<String>,
    pub consistency: ConsistencyReport,
}

impl ChaosReport {
    pub fn is_success(&self) -> bool {
        self.consistency.is_consistent()
            && self.unexpected_responses.is_empty()
            && self.not_quiescent.is_none()
    }

    /// Orders per second of load.
    pub fn orders_per_second(&self) -> f64 {
        self.orders as f64 / self.load_seconds
    }
}

/// Counts the orders by status, and by reason where they have one.
pub fn count_outcomes(snapshot: &SystemSnapshot) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for order in &snapshot.orders {
        *outcomes.entry(outcome_of(order)).or_default() += 1;
    }
    outcomes
}

/// Counts the orders whose customer had to authenticate the payment, by the customer's response and the
/// outcome.
pub fn count_authentications(
    snapshot: &SystemSnapshot,
    observations: &[ClientObservation],
) -> BTreeMap<String, usize> {
    let orders: HashMap<OrderId, &Order> = snapshot
        .orders
        .iter()
        .map(|order| (order.order_id, order))
        .collect();
    let mut counts = BTreeMap::new();
    for observation in observations {
        let order = observation.order_ids.first().and_then(|id| orders.get(id));
        if let Some((order, authentication)) = order.zip(observation.authentication) {
            let label = format!("{authentication:?} → {}", outcome_of(order));
            *counts.entry(label).or_default() += 1;
        }
    }
    counts
}

fn outcome_of(order: &Order) -> String {
    match order.reason {
        Some(reason) => format!("{}: {reason:?}", order.status),
        None => order.status.to_string(),
    }
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} orders with seed {}: {:.1} orders/s for {:.0} s of load, quiescent {:.0} s later\n",
            self.orders,
            self.seed,
            self.orders_per_second(),
            self.load_seconds,
            self.settle_seconds
        )?;
        writeln!(f, "Injected faults and repetitions")?;
        for (label, count) in &self.injected {
            writeln!(f, "  {count:>7}  {label}")?;
        }
        for (queue, count) in &self.redriven {
            writeln!(f, "  {count:>7}  messages redriven from {queue}")?;
        }
        writeln!(f, "\nOrders by outcome")?;
        for (outcome, count) in &self.outcomes {
            writeln!(f, "  {count:>7}  {outcome}")?;
        }
        writeln!(f, "\nAuthenticated payments by response and outcome")?;
        for (label, count) in &self.authentications {
            writeln!(f, "  {count:>7}  {label}")?;
        }
        writeln!(f, "\nConnected customers")?;
        write!(f, "{}", self.connections)?;
        writeln!(f, "\nConsistency checks")?;
        write!(f, "{}", self.consistency)?;
        for response in &self.unexpected_responses {
            writeln!(f, "✗ {response}")?;
        }
        if let Some(reason) = &self.not_quiescent {
            writeln!(f, "✗ the system did not become quiescent: {reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConnectionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            customers,
            reconnections,
            closed_by_gateway,
            lost,
            updates,
            repeated_updates,
            longest_delay_seconds,
        } = self;
        writeln!(f, "  {customers:>7}  customers")?;
        writeln!(f, "  {reconnections:>7}  reconnections")?;
        writeln!(
            f,
            "  {closed_by_gateway:>7}  connections closed by API Gateway at random"
        )?;
        writeln!(f, "  {lost:>7}  connections lost at random")?;
        writeln!(f, "  {updates:>7}  updates received")?;
        writeln!(
            f,
            "  {repeated_updates:>7}  updates dropped, because the client had seen their changes"
        )?;
        writeln!(
            f,
            "  {longest_delay_seconds:>7.1}  seconds at most from a final status to the client"
        )
    }
}
