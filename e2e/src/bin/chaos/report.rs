//! What a run came to, for a person and for a program.

use std::{collections::BTreeMap, fmt};

use e2e::consistency::{ConsistencyReport, SystemSnapshot};
use serde::Serialize;

/// A run.
#[derive(Debug, Serialize)]
pub struct ChaosReport {
    /// What everything was drawn from.
    pub seed: u64,
    /// How many orders customers wanted.
    pub orders: usize,
    /// How long it took until all were sent and looked after, in seconds.
    pub load_seconds: f64,
    /// How long after that until nothing moved, in seconds.
    pub settle_seconds: f64,
    /// What was done to the system, and how often.
    pub injected: BTreeMap<String, u64>,
    /// Dead letters that an operator put back.
    pub redriven: BTreeMap<&'static str, u64>,
    /// What became of the orders.
    pub fates: BTreeMap<String, usize>,
    /// Answers that no client should have been given.
    pub wrong_answers: Vec<String>,
    /// What still moved when the patience was over; nothing when all is well.
    pub unsettled: Option<String>,
    /// Whether the books balance.
    pub verdict: ConsistencyReport,
}

impl ChaosReport {
    /// Whether nothing was lost and nobody was told nonsense.
    pub fn is_success(&self) -> bool {
        self.verdict.is_consistent() && self.wrong_answers.is_empty() && self.unsettled.is_none()
    }

    /// Orders a second, from the first sent to the last looked after.
    pub fn orders_per_second(&self) -> f64 {
        self.orders as f64 / self.load_seconds
    }
}

/// What became of the orders: their number by status, and by reason where there is one.
pub fn count_outcomes(books: &SystemSnapshot) -> BTreeMap<String, usize> {
    let mut fates = BTreeMap::new();
    for order in &books.orders {
        let fate = match order.reason {
            Some(reason) => format!("{}: {reason:?}", order.status),
            None => order.status.to_string(),
        };
        *fates.entry(fate).or_default() += 1;
    }
    fates
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} orders with seed {}: {:.1} orders/s under load for {:.0} s, settled after {:.0} s more\n",
            self.orders,
            self.seed,
            self.orders_per_second(),
            self.load_seconds,
            self.settle_seconds
        )?;
        writeln!(f, "What was done to the system")?;
        for (what, times) in &self.injected {
            writeln!(f, "  {times:>7}  {what}")?;
        }
        for (queue, letters) in &self.redriven {
            writeln!(f, "  {letters:>7}  dead letters put back from {queue}")?;
        }
        writeln!(f, "\nWhat became of the orders")?;
        for (fate, orders) in &self.fates {
            writeln!(f, "  {orders:>7}  {fate}")?;
        }
        writeln!(f, "\nThe books")?;
        write!(f, "{}", self.verdict)?;
        for answer in &self.wrong_answers {
            writeln!(f, "✗ {answer}")?;
        }
        if let Some(motion) = &self.unsettled {
            writeln!(f, "✗ it did not come to rest: {motion}")?;
        }
        Ok(())
    }
}
