//! The steps of an order's way, and how they are shown: one line each, in the order in which they happened.

use anstyle::{AnsiColor, Style};
use chrono::DateTime;
use serde_json::{Value, json};

use crate::progress::{BOLD, DIM, GREEN, RED, YELLOW};

/// Where a step took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// At the public door.
    Api,
    /// On the event bus.
    Event,
    /// In a queue or a topic.
    Queue,
    /// In the state machine.
    Saga,
    /// In the order itself.
    Order,
    /// In the customer's mailbox.
    Mail,
}

/// What to think of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It happened.
    Plain,
    /// It went well.
    Good,
    /// It has not ended yet.
    Busy,
    /// It failed and is tried again.
    Warning,
    /// It failed.
    Bad,
}

/// One step.
#[derive(Debug, Clone)]
pub struct TimelineStep {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Where.
    pub kind: StepKind,
    /// What.
    pub name: String,
    /// And what about it.
    pub detail: String,
    /// What to think of it.
    pub severity: Severity,
}

impl TimelineStep {
    /// A step.
    pub fn new(at: i64, kind: StepKind, name: &str, detail: String, severity: Severity) -> Self {
        Self {
            at,
            kind,
            name: name.to_owned(),
            detail,
            severity,
        }
    }

    /// The step as one line, `start` being the moment that time is counted from.
    pub fn print(&self, start: i64) {
        let (kind, colour) = self.kind.label_and_style();
        let (mark, tone) = match self.severity {
            Severity::Plain => (" ", Style::new()),
            Severity::Good => ("✓", GREEN),
            Severity::Busy => ("…", DIM),
            Severity::Warning => ("↻", YELLOW),
            Severity::Bad => ("✗", RED),
        };
        let (elapsed, name, detail) = (self.at - start, &self.name, &self.detail);
        anstream::println!(
            "  {DIM}{elapsed:>6} ms{DIM:#}  {colour}{kind:5}{colour:#}  {tone}{mark}{tone:#} {BOLD}{name:24}{BOLD:#} {tone}{detail}{tone:#}"
        );
    }

    /// The step for programs.
    pub fn to_json(&self, start: i64) -> Value {
        json!({
            "elapsed_ms": self.at - start,
            "kind": self.kind.label_and_style().0,
            "name": self.name,
            "detail": self.detail,
        })
    }
}

impl StepKind {
    fn label_and_style(self) -> (&'static str, Style) {
        let (name, colour) = match self {
            Self::Api => ("api", AnsiColor::Cyan),
            Self::Event => ("event", AnsiColor::Magenta),
            Self::Queue => ("queue", AnsiColor::Yellow),
            Self::Saga => ("saga", AnsiColor::Blue),
            Self::Order => ("order", AnsiColor::Cyan),
            Self::Mail => ("mail", AnsiColor::Green),
        };
        (name, colour.on_default())
    }
}

/// A moment in milliseconds since 1970, from what our programs write (RFC 3339) and what AWS does (seconds).
pub fn parse_timestamp_ms(value: &Value) -> Option<i64> {
    if let Some(text) = value.as_str() {
        return Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds of any date fit into 53 bits"
    )]
    let milliseconds = (value.as_f64()? * 1000.0).round() as i64;
    Some(milliseconds)
}

/// An amount in minor units, as a person writes it.
pub fn format_money(amount: i64, currency: &str) -> String {
    match currency {
        // The yen has no minor unit.
        "JPY" => format!("¥{}", group_thousands(amount)),
        _ => format!("{} {currency} in minor units", group_thousands(amount)),
    }
}

fn group_thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yen_are_grouped_by_thousands() {
        assert_eq!(format_money(0, "JPY"), "¥0");
        assert_eq!(format_money(980, "JPY"), "¥980");
        assert_eq!(format_money(1_234_567, "JPY"), "¥1,234,567");
    }

    #[test]
    fn times_are_read_to_the_millisecond() {
        assert_eq!(
            parse_timestamp_ms(&json!("1970-01-01T00:00:01.234567Z")),
            Some(1234)
        );
        assert_eq!(parse_timestamp_ms(&json!(1.234)), Some(1234));
        assert_eq!(parse_timestamp_ms(&json!("yesterday")), None);
    }
}
