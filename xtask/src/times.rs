//! Points in time as a person writes them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};

/// A point in time: RFC 3339 (`2026-11-21T09:00:00+09:00`), or a span before `now` (`-15m`, `-2h30m`), or `now`.
///
/// # Errors
/// When the text is neither, or means a time that cannot be told.
pub fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = chrono::TimeDelta::from_std(span(ago)?).context("that is too long ago")?;
        return now.checked_sub_signed(ago).context("that is too long ago");
    }
    let time = DateTime::parse_from_rfc3339(text).with_context(|| {
        format!("{text} is neither a time like 2026-11-21T09:00:00Z nor a span like -15m")
    })?;
    Ok(time.to_utc())
}

/// A span: whole numbers of days, hours, minutes and seconds.
fn span(text: &str) -> Result<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let unit = match tail.chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => bail!("-{text} is no span like -90s, -15m, -2h30m or -1d"),
        };
        let count: u64 = number
            .parse()
            .with_context(|| format!("-{text} is no span like -90s, -15m, -2h30m or -1d"))?;
        let part = count.checked_mul(unit).context("that is too long ago")?;
        seconds = seconds.checked_add(part).context("that is too long ago")?;
        rest = &tail[1..];
    }
    if text.is_empty() {
        bail!("- alone is no span");
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_either_way() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let seconds = |text| parse(text, now).map(|time| time.timestamp()).ok();
        assert_eq!(seconds("now"), Some(1_000_000));
        assert_eq!(seconds("-15m"), Some(1_000_000 - 900));
        assert_eq!(seconds("-1d2h3m4s"), Some(1_000_000 - 93_784));
        assert_eq!(seconds("1970-01-01T09:00:01+09:00"), Some(1));
        for wrong in [
            "",
            "-",
            "15m",
            "-15",
            "-m",
            "-1.5h",
            "-99999999999999999999s",
            "-9999999999999d",
            "-1é",
            "yesterday",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
