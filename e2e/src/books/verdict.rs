//! What balancing the books came to, for a person and for a program.

use std::fmt;

use serde::Serialize;

/// How many findings of a rule are printed; a program gets them all.
const SHOWN: usize = 12;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// What a client was told of is there.
    AcceptedIsThere,
    /// However often a client sends an order, there is one.
    OneOrderForOneKey,
    /// No client has an order that it was not told of.
    NoUnknownOrder,
    /// Every order has come to an end, or waits for a person.
    OrderEnded,
    /// Every order went a way that orders may go.
    LawfulHistory,
    /// In the house is what was brought less what was sold.
    QuantityAddsUp,
    /// Set aside is what open reservations hold.
    ReservedAddsUp,
    /// Nothing is held for an order that has ended or never was.
    NothingHeldForNobody,
    /// What a completed order bought is sold.
    CompletedIsSold,
    /// What is sold was bought by a completed order.
    SoldIsCompleted,
    /// A completed order was charged its price, once.
    CompletedIsCharged,
    /// No order was charged twice.
    ChargedOnce,
    /// What was charged for an order that was not completed was given back.
    ChargeReturned,
    /// An order knows what became of its payment.
    PaymentIsRecorded,
    /// Whoever's order was carried out or refused was told; whoever took it back was not.
    MailSent,
    /// What mails tell is what happened.
    MailIsTrue,
    /// Nothing lies with the dead letters.
    NoDeadLetter,
    /// Nothing waits in a work queue.
    NoMessageLeft,
    /// Nothing waits in an outbox.
    NoEventLeft,
    /// Every run of the saga has ended, and well, unless its order waits for a person.
    ExecutionEnded,
    /// What an order came to was said on the bus.
    EndAnnounced,
    /// All events of an order belong to the order's trace.
    OneTrace,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 22] = [
        Self::AcceptedIsThere,
        Self::OneOrderForOneKey,
        Self::NoUnknownOrder,
        Self::OrderEnded,
        Self::LawfulHistory,
        Self::QuantityAddsUp,
        Self::ReservedAddsUp,
        Self::NothingHeldForNobody,
        Self::CompletedIsSold,
        Self::SoldIsCompleted,
        Self::CompletedIsCharged,
        Self::ChargedOnce,
        Self::ChargeReturned,
        Self::PaymentIsRecorded,
        Self::MailSent,
        Self::MailIsTrue,
        Self::NoDeadLetter,
        Self::NoMessageLeft,
        Self::NoEventLeft,
        Self::ExecutionEnded,
        Self::EndAnnounced,
        Self::OneTrace,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::AcceptedIsThere => "orders that clients were told of are there",
            Self::OneOrderForOneKey => "idempotency keys with one order at most",
            Self::NoUnknownOrder => "orders that their clients know of",
            Self::OrderEnded => "orders that ended, or are parked",
            Self::LawfulHistory => "orders whose statuses followed as they may",
            Self::QuantityAddsUp => "products: in the house = brought - sold",
            Self::ReservedAddsUp => "products: set aside = open reservations",
            Self::NothingHeldForNobody => "reservations held for ended or unknown orders",
            Self::CompletedIsSold => "completed orders whose goods are sold",
            Self::SoldIsCompleted => "sold reservations of completed orders",
            Self::CompletedIsCharged => "completed orders charged once, in full",
            Self::ChargedOnce => "orders charged more than once",
            Self::ChargeReturned => "charges without completed order, refunded in full",
            Self::PaymentIsRecorded => "orders that know what became of their payment",
            Self::MailSent => "ended orders whose customer was told",
            Self::MailIsTrue => "mails that tell what happened",
            Self::NoDeadLetter => "dead letters and parked events",
            Self::NoMessageLeft => "messages in work queues",
            Self::NoEventLeft => "events in outboxes",
            Self::ExecutionEnded => "runs of the saga that ended well",
            Self::EndAnnounced => "ends of orders that were said on the bus",
            Self::OneTrace => "orders whose events are all of one trace",
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
    pub rule: Rule,
    /// How many there should be.
    pub expected: usize,
    /// How many there are.
    pub found: usize,
    /// Those that are too many or too few.
    pub findings: Vec<Finding>,
}

/// Something that is no loss and that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What it is.
    pub what: &'static str,
    /// Where.
    pub ids: Vec<String>,
}

/// What balancing the books came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Every rule.
    pub checks: Vec<Check>,
    /// What else there is to know.
    pub notes: Vec<Note>,
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
    pub(super) fn each(rule: Rule, looked_at: impl IntoIterator<Item = Option<Finding>>) -> Self {
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
    pub(super) fn none(rule: Rule, found: impl IntoIterator<Item = Finding>) -> Self {
        let findings: Vec<Finding> = found.into_iter().collect();
        Self {
            rule,
            expected: 0,
            found: findings.len(),
            findings,
        }
    }
}

impl Verdict {
    /// Whether everything adds up.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.checks.iter().all(|check| check.findings.is_empty())
    }

    /// The rules that were broken.
    #[must_use]
    pub fn broken(&self) -> Vec<Rule> {
        let broken = self.checks.iter().filter(|check| !check.findings.is_empty());
        broken.map(|check| check.rule).collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<52} {:>8} {:>8}", "", "expected", "found")?;
        for check in &self.checks {
            let mark = if check.findings.is_empty() { '✓' } else { '✗' };
            let title = check.rule.title();
            writeln!(f, "{mark} {title:<52} {:>8} {:>8}", check.expected, check.found)?;
            for finding in check.findings.iter().take(SHOWN) {
                writeln!(f, "    {}  {}", finding.id, finding.detail)?;
            }
            if check.findings.len() > SHOWN {
                writeln!(f, "    … and {} more", check.findings.len() - SHOWN)?;
            }
        }
        for note in &self.notes {
            writeln!(f, "· {}: {}", note.what, note.ids.len())?;
            for id in note.ids.iter().take(SHOWN) {
                writeln!(f, "    {id}")?;
            }
        }
        let verdict = if self.is_balanced() {
            "BALANCED"
        } else {
            "NOT BALANCED"
        };
        writeln!(f, "{verdict}")
    }
}
