//! The consistency report: the result of each invariant, for people (`Display`) and for programs (JSON).

use std::fmt;

use serde::Serialize;
use strum::VariantArray;

/// How many findings of an invariant `Display` prints; JSON contains all.
const MAX_PRINTED_FINDINGS: usize = 12;

/// An invariant of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, VariantArray)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// Every order that a client received with a 202 response exists.
    AcceptedOrdersExist,
    /// Repeated requests with one idempotency key create one order.
    OneOrderPerIdempotencyKey,
    /// Every order was acknowledged to its client.
    NoUnacknowledgedOrders,
    /// Every order is final or parked.
    OrdersReachFinalStatus,
    /// Every status change of an order is allowed.
    ValidTransitions,
    /// Every order whose customer had to authenticate the payment ended as the customer's response allows.
    OutcomeMatchesAuthentication,
    /// A product's quantity equals its adjustments minus its committed reservations.
    QuantityMatchesMovements,
    /// A product's reserved quantity equals its open reservations.
    ReservedMatchesReservations,
    /// No open reservation belongs to a final or unknown order.
    NoOrphanReservations,
    /// The stock of every completed order is committed, in the quantities of the order.
    CompletedOrdersCommitStock,
    /// Every committed reservation belongs to a completed order.
    CommittedStockHasCompletedOrder,
    /// Every completed order was charged its total, once.
    CompletedOrdersChargedInFull,
    /// No order was charged twice.
    NoDoubleCharge,
    /// Every charge without a completed order was refunded in full.
    UncompletedChargesRefunded,
    /// The payment state of every final order matches the provider's payments.
    PaymentStateRecorded,
    /// Every order with a dispute or a failed refund is flagged for an operator.
    PaymentIssuesFlagged,
    /// Every completed order has one receipt, which was never replaced, with the order's total and tax.
    CompletedOrdersHaveReceipt,
    /// Every receipt belongs to a completed order.
    ReceiptsOfCompletedOrders,
    /// Every final order has its mail; one that was refunded after its end has two. Customers who opted out
    /// get receipts only.
    OutcomeMailSent,
    /// Every mail reports the outcome of its order.
    MailMatchesOutcome,
    /// Every final order of a customer who wants SMS has its SMS, as it has mails.
    OutcomeSmsSent,
    /// Every SMS reports the outcome of its order.
    SmsMatchesOutcome,
    NoDeadLetters,
    WorkQueuesEmpty,
    OutboxesEmpty,
    /// Every saga execution succeeded, except those of parked orders.
    ExecutionsSucceeded,
    /// The outcome of every final order was published to the bus.
    OutcomeEventPublished,
    /// All events of an order belong to the order's trace.
    SingleTracePerOrder,
    /// The client of every connected customer has seen the history of each order to its end. Changes after
    /// the end, such as a late refund, may be missing: a client does not ask for a finished order again.
    ConnectedCustomersSawHistory,
    /// No client received an update that has a gap, or that differs from an earlier one.
    NoInvalidUpdates,
    /// No client received an update of another customer's order.
    NoForeignUpdates,
}

impl Invariant {
    /// What the columns `expected` and `found` of the report count.
    fn title(self) -> &'static str {
        match self {
            Self::AcceptedOrdersExist => "accepted orders that exist",
            Self::OneOrderPerIdempotencyKey => "idempotency keys with at most one order",
            Self::NoUnacknowledgedOrders => "orders that were acknowledged to their client",
            Self::OrdersReachFinalStatus => "orders that are final, parked or waiting for their customer",
            Self::ValidTransitions => "orders with valid status transitions",
            Self::OutcomeMatchesAuthentication => "authenticated orders with an allowed outcome",
            Self::QuantityMatchesMovements => "products: quantity = adjusted - committed",
            Self::ReservedMatchesReservations => "products: reserved = open reservations",
            Self::NoOrphanReservations => "open reservations of final or unknown orders",
            Self::CompletedOrdersCommitStock => "completed orders with committed stock",
            Self::CommittedStockHasCompletedOrder => "committed reservations of completed orders",
            Self::CompletedOrdersChargedInFull => "completed orders charged once, in full",
            Self::NoDoubleCharge => "orders charged more than once",
            Self::UncompletedChargesRefunded => "charges without completed order, refunded in full",
            Self::PaymentStateRecorded => "final orders with the correct payment state",
            Self::PaymentIssuesFlagged => "disputes and missing refunds with a flagged order",
            Self::CompletedOrdersHaveReceipt => "completed orders with one receipt of their amounts",
            Self::ReceiptsOfCompletedOrders => "receipts of completed orders",
            Self::OutcomeMailSent => "final orders with the expected mails",
            Self::MailMatchesOutcome => "mails that match the outcome of their order",
            Self::OutcomeSmsSent => "final orders with the expected SMS",
            Self::SmsMatchesOutcome => "SMS that match the outcome of their order",
            Self::NoDeadLetters => "dead-letter messages and parked events",
            Self::WorkQueuesEmpty => "messages in work queues",
            Self::OutboxesEmpty => "events in outboxes",
            Self::ExecutionsSucceeded => "saga executions that succeeded",
            Self::OutcomeEventPublished => "final orders with a published outcome event",
            Self::SingleTracePerOrder => "orders whose events share the order's trace",
            Self::ConnectedCustomersSawHistory => "orders that connected customers saw to the end",
            Self::NoInvalidUpdates => "updates with a gap or a contradiction",
            Self::NoForeignUpdates => "updates of other customers' orders",
        }
    }
}

/// A violation of an invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The id of the order, product or payment, or the name of the queue.
    pub id: String,
    pub detail: String,
}

/// The result of one invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub invariant: Invariant,
    /// The expected number of items.
    pub expected: usize,
    /// The actual number of items.
    pub found: usize,
    pub findings: Vec<Finding>,
}

/// A condition that violates no invariant but that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    pub description: &'static str,
    pub ids: Vec<String>,
}

/// The results of all invariants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsistencyReport {
    pub checks: Vec<Check>,
    pub warnings: Vec<Warning>,
}

impl Finding {
    pub(super) fn new(id: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self {
            id: id.to_string(),
            detail: detail.into(),
        }
    }
}

impl Check {
    /// Checks every item that the invariant applies to: `None` for an item that satisfies it.
    pub(super) fn expect_all(
        invariant: Invariant,
        results: impl IntoIterator<Item = Option<Finding>>,
    ) -> Self {
        let results: Vec<Option<Finding>> = results.into_iter().collect();
        let expected = results.len();
        let findings: Vec<Finding> = results.into_iter().flatten().collect();
        Self {
            invariant,
            expected,
            found: expected - findings.len(),
            findings,
        }
    }

    /// Reports every item that the invariant forbids.
    pub(super) fn expect_none(invariant: Invariant, found: impl IntoIterator<Item = Finding>) -> Self {
        let findings: Vec<Finding> = found.into_iter().collect();
        Self {
            invariant,
            expected: 0,
            found: findings.len(),
            findings,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.findings.is_empty() { '✓' } else { '✗' };
        let title = self.invariant.title();
        writeln!(f, "{mark} {title:<52} {:>8} {:>8}", self.expected, self.found)?;
        for finding in self.findings.iter().take(MAX_PRINTED_FINDINGS) {
            writeln!(f, "    {}  {}", finding.id, finding.detail)?;
        }
        if self.findings.len() > MAX_PRINTED_FINDINGS {
            writeln!(f, "    … and {} more", self.findings.len() - MAX_PRINTED_FINDINGS)?;
        }
        Ok(())
    }
}

impl ConsistencyReport {
    /// Whether all invariants hold.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.violations().next().is_none()
    }

    /// The results of the violated invariants.
    pub fn violations(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.findings.is_empty())
    }

    #[must_use]
    pub fn violated_invariants(&self) -> Vec<Invariant> {
        self.violations().map(|check| check.invariant).collect()
    }
}

impl fmt::Display for ConsistencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<52} {:>8} {:>8}", "", "expected", "found")?;
        for check in &self.checks {
            write!(f, "{check}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "· {}: {}", warning.description, warning.ids.len())?;
            for id in warning.ids.iter().take(MAX_PRINTED_FINDINGS) {
                writeln!(f, "    {id}")?;
            }
        }
        let conclusion = if self.is_consistent() {
            "CONSISTENT"
        } else {
            "INCONSISTENT"
        };
        writeln!(f, "{conclusion}")
    }
}
