//! Times that an operator gives to xtask, which is a workspace of its own: its file is taken in as it is.

use chrono::{DateTime, Utc};

#[path = "../../xtask/src/times.rs"]
mod parser;

/// A span before now is before now; a time that is read is written and read again as the same one.
pub fn time_args(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let now = DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
    if let Ok(time) = parser::parse(text, now) {
        assert!(time <= now || !text.starts_with('-'));
        // A leap second is said in its own way; years have four digits in RFC 3339.
        let again = parser::parse(&time.to_rfc3339(), now);
        assert!(
            again.is_ok_and(|again| again == time) || text.starts_with('-'),
            "{text}"
        );
    }
}
