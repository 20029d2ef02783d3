//! The steps of an order's timeline, and their formatting for display.

use anstyle::{AnsiColor, Style};
use chrono::DateTime;
use serde_json::{Value, json};

use crate::progress::{BOLD, DIM, GREEN, RED, YELLOW};

/// The component in which a step happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// The public API.
    Api,
    /// The event bus.
    Event,
    /// A queue or topic.
    Queue,
    /// The state machine.
    Saga,
    /// The status of the order.
    Order,
    /// The customer's mailbox.
    Mail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Info,
    Success,
    /// The step has not ended yet.
    Pending,
    /// The step failed and is retried.
    Warning,
    /// The step failed permanently.
    Error,
}

/// A step of the timeline.
#[derive(Debug, Clone)]
pub struct TimelineStep {
    /// In milliseconds since 1970.
    pub at: i64,
    pub kind: StepKind,
    /// For example the detail type of an event or the name of a saga state.
    pub name: String,
    pub detail: String,
    pub severity: Severity,
}

impl TimelineStep {
    pub fn new(at: i64, kind: StepKind, name: &str, detail: String, severity: Severity) -> Self {
        Self {
            at,
            kind,
            name: name.to_owned(),
            detail,
            severity,
        }
    }

    /// Prints the step as one line, with the time elapsed since `start` (milliseconds since 1970).
    pub fn print(&self, start: i64) {
        let (kind, colour) = self.kind.label_and_style();
        let (mark, style) = match self.severity {
            Severity::Info => (" ", Style::new()),
            Severity::Success => ("✓", GREEN),
            Severity::Pending => ("…", DIM),
            Severity::Warning => ("↻", YELLOW),
            Severity::Error => ("✗", RED),
        };
        let (elapsed, name, detail) = (self.at - start, &self.name, &self.detail);
        anstream::println!(
            "  {DIM}{elapsed:>6} ms{DIM:#}  {colour}{kind:5}{colour:#}  {style}{mark}{style:#} \
             {BOLD}{name:24}{BOLD:#} {style}{detail}{style:#}"
        );
    }

    /// The step as JSON, with the time elapsed since `start` (milliseconds since 1970).
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

/// Parses a timestamp of our services (RFC 3339) or of AWS (seconds since 1970). Returns milliseconds since
/// 1970.
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

/// Formats an amount in minor units for display.
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
    fn format_money_groups_yen_by_thousands() {
        assert_eq!(format_money(0, "JPY"), "¥0");
        assert_eq!(format_money(980, "JPY"), "¥980");
        assert_eq!(format_money(1_234_567, "JPY"), "¥1,234,567");
    }

    #[test]
    fn timestamps_are_parsed_to_the_millisecond() {
        assert_eq!(
            parse_timestamp_ms(&json!("1970-01-01T00:00:01.234567Z")),
            Some(1234)
        );
        assert_eq!(parse_timestamp_ms(&json!(1.234)), Some(1234));
        assert_eq!(parse_timestamp_ms(&json!("yesterday")), None);
    }
}
