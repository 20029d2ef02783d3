//! Parses points in time from command line arguments. The fuzz crate includes this file as well.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};

/// Parses RFC 3339 (`2026-11-21T09:00:00+09:00`), a duration before `now` (`-15m`, `-2h30m`), or `now`.
///
/// # Errors
/// When the text has none of these forms, or the time is outside the range of `DateTime`.
pub fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let too_long_ago = || format!("{text} is too long ago");
        let ago = chrono::TimeDelta::from_std(parse_duration(ago)?).with_context(too_long_ago)?;
        return now.checked_sub_signed(ago).with_context(too_long_ago);
    }
    let time = DateTime::parse_from_rfc3339(text).with_context(|| {
        format!("{text} is neither a time like 2026-11-21T09:00:00Z nor a duration like -15m")
    })?;
    Ok(time.to_utc())
}

/// Parses a sequence of whole numbers with the units `d`, `h`, `m` and `s`.
fn parse_duration(text: &str) -> Result<Duration> {
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
            _ => bail!("-{text} is not a duration like -90s, -15m, -2h30m or -1d"),
        };
        let count: u64 = number
            .parse()
            .with_context(|| format!("-{text} is not a duration like -90s, -15m, -2h30m or -1d"))?;
        let total = count.checked_mul(unit).and_then(|part| seconds.checked_add(part));
        seconds = total.with_context(|| format!("-{text} is too long ago"))?;
        rest = &tail[1..];
    }
    if text.is_empty() {
        bail!("expected a duration after -, for example -15m");
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_absolute_and_relative_times_and_rejects_other_text() {
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
