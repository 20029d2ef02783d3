//! Fuzz target of xtask's time arguments. xtask is a separate workspace, so its source file is included.

use chrono::{DateTime, Utc};

#[path = "../../xtask/src/time_args.rs"]
mod parser;

/// A negative span is in the past. Formatting and parsing a time returns the same time.
pub fn time_args(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let now = DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
    if let Ok(time) = parser::parse(text, now) {
        assert!(time <= now || !text.starts_with('-'));
        // RFC 3339 years have four digits, so a span can reach a year that cannot be parsed parsed_again.
        let parsed_again = parser::parse(&time.to_rfc3339(), now);
        assert!(
            parsed_again.is_ok_and(|parsed_again| parsed_again == time) || text.starts_with('-'),
            "{text}"
        );
    }
}
