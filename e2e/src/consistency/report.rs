//! What balancing the books came to, for a person and for a program.

use std::fmt;

use serde::Serialize;

/// How many findings of a rule are printed; a program gets them all.
const MAX_PRINTED_FINDINGS: usize = 12;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// What a client was told of is there.
    AcceptedOrdersExist,
    /// However often a client sends an order, there is one.
    OneOrderPerIdempotencyKey,
    /// No client has an order that it was not told of.
    NoUnacknowledgedOrders,
    /// Every order has come to an end, or waits for a person.
    OrdersReachFinalStatus,
    /// Every order went a way that orders may go.
    ValidTransitions,
    /// In the house is what was brought less what was sold.
    QuantityMatchesMovements,
    /// Set aside is what open reservations hold.
    ReservedMatchesReservations,
    /// Nothing is held for an order that has ended or never was.
    NoOrphanReservations,
    /// What a completed order bought is sold.
    CompletedOrdersCommitStock,
    /// What is sold was bought by a completed order.
    CommittedStockHasCompletedOrder,
    /// A completed order was charged its price, once.
    CompletedOrdersChargedInFull,
    /// No order was charged twice.
    NoDoubleCharge,
    /// What was charged for an order that was not completed was given back.
    UncompletedChargesRefunded,
    /// An order knows what became of its payment.
    PaymentStateRecorded,
    /// Whoever's order was carried out or refused was told; whoever took it back was not.
    OutcomeMailSent,
    /// What mails tell is what happened.
    MailMatchesOutcome,
    /// Nothing lies with the dead letters.
    NoDeadLetters,
    /// Nothing waits in a work queue.
    WorkQueuesEmpty,
    /// Nothing waits in an outbox.
    OutboxesEmpty,
    /// Every run of the saga has ended, and well, unless its order waits for a person.
    ExecutionsSucceeded,
    /// What an order came to was said on the bus.
    OutcomeEventPublished,
    /// All events of an order belong to the order's trace.
    SingleTracePerOrder,
}

impl Invariant {
    /// Every rule.
    pub const ALL: [Self; 22] = [
        Self::AcceptedOrdersExist,
        Self::OneOrderPerIdempotencyKey,
        Self::NoUnacknowledgedOrders,
        Self::OrdersReachFinalStatus,
        Self::ValidTransitions,
        Self::QuantityMatchesMovements,
        Self::ReservedMatchesReservations,
        Self::NoOrphanReservations,
        Self::CompletedOrdersCommitStock,
        Self::CommittedStockHasCompletedOrder,
        Self::CompletedOrdersChargedInFull,
        Self::NoDoubleCharge,
        Self::UncompletedChargesRefunded,
        Self::PaymentStateRecorded,
        Self::OutcomeMailSent,
        Self::MailMatchesOutcome,
        Self::NoDeadLetters,
        Self::WorkQueuesEmpty,
        Self::OutboxesEmpty,
        Self::ExecutionsSucceeded,
        Self::OutcomeEventPublished,
        Self::SingleTracePerOrder,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::AcceptedOrdersExist => "orders that clients were told of are there",
            Self::OneOrderPerIdempotencyKey => "idempotency keys with one order at most",
            Self::NoUnacknowledgedOrders => "orders that their clients know of",
            Self::OrdersReachFinalStatus => "orders that ended, or are parked",
            Self::ValidTransitions => "orders whose statuses followed as they may",
            Self::QuantityMatchesMovements => "products: in the house = brought - sold",
            Self::ReservedMatchesReservations => "products: set aside = open reservations",
            Self::NoOrphanReservations => "reservations held for ended or unknown orders",
            Self::CompletedOrdersCommitStock => "completed orders whose goods are sold",
            Self::CommittedStockHasCompletedOrder => "sold reservations of completed orders",
            Self::CompletedOrdersChargedInFull => "completed orders charged once, in full",
            Self::NoDoubleCharge => "orders charged more than once",
            Self::UncompletedChargesRefunded => "charges without completed order, refunded in full",
            Self::PaymentStateRecorded => "orders that know what became of their payment",
            Self::OutcomeMailSent => "ended orders whose customer was told",
            Self::MailMatchesOutcome => "mails that tell what happened",
            Self::NoDeadLetters => "dead letters and parked events",
            Self::WorkQueuesEmpty => "messages in work queues",
            Self::OutboxesEmpty => "events in outboxes",
            Self::ExecutionsSucceeded => "runs of the saga that ended well",
            Self::OutcomeEventPublished => "ends of orders that were said on the bus",
            Self::SingleTracePerOrder => "orders whose events are all of one trace",
        }
    }
}

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The order, product, payment or message.
    pub id: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A rule, held against the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The rule.
    pub rule: Invariant,
    /// How many there should be.
    pub expected: usize,
    /// How many there are.
    pub found: usize,
    /// Those that are too many or too few.
    pub findings: Vec<Finding>,
}

/// Something that is no loss and that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is.
    pub what: &'static str,
    /// Where.
    pub ids: Vec<String>,
}

/// What balancing the books came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsistencyReport {
    /// Every rule.
    pub checks: Vec<Check>,
    /// What else there is to know.
    pub notes: Vec<Warning>,
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
    /// Looks at everything that the rule is about; each is well or a finding.
    pub(super) fn expect_all(rule: Invariant, looked_at: impl IntoIterator<Item = Option<Finding>>) -> Self {
        let looked_at: Vec<Option<Finding>> = looked_at.into_iter().collect();
        let expected = looked_at.len();
        let findings: Vec<Finding> = looked_at.into_iter().flatten().collect();
        Self {
            rule,
            expected,
            found: expected - findings.len(),
            findings,
        }
    }

    /// What the rule forbids; there should be none.
    pub(super) fn expect_none(rule: Invariant, found: impl IntoIterator<Item = Finding>) -> Self {
        let findings: Vec<Finding> = found.into_iter().collect();
        Self {
            rule,
            expected: 0,
            found: findings.len(),
            findings,
        }
    }
}

impl ConsistencyReport {
    /// Whether everything adds up.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.checks.iter().all(|check| check.findings.is_empty())
    }

    /// The rules that were broken.
    #[must_use]
    pub fn violated_invariants(&self) -> Vec<Invariant> {
        let broken = self.checks.iter().filter(|check| !check.findings.is_empty());
        broken.map(|check| check.rule).collect()
    }
}

impl fmt::Display for ConsistencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<52} {:>8} {:>8}", "", "expected", "found")?;
        for check in &self.checks {
            let mark = if check.findings.is_empty() { '✓' } else { '✗' };
            let title = check.rule.title();
            writeln!(f, "{mark} {title:<52} {:>8} {:>8}", check.expected, check.found)?;
            for finding in check.findings.iter().take(MAX_PRINTED_FINDINGS) {
                writeln!(f, "    {}  {}", finding.id, finding.detail)?;
            }
            if check.findings.len() > MAX_PRINTED_FINDINGS {
                writeln!(
                    f,
                    "    … and {} more",
                    check.findings.len() - MAX_PRINTED_FINDINGS
                )?;
            }
        }
        for note in &self.notes {
            writeln!(f, "· {}: {}", note.what, note.ids.len())?;
            for id in note.ids.iter().take(MAX_PRINTED_FINDINGS) {
                writeln!(f, "    {id}")?;
            }
        }
        let verdict = if self.is_consistent() {
            "BALANCED"
        } else {
            "NOT BALANCED"
        };
        writeln!(f, "{verdict}")
    }
}
