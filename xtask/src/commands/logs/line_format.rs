//! Formats a JSON log record as a readable line.

use std::borrow::Cow;

use anstyle::Style;
use serde_json::{Map, Value};

use crate::progress::{DIM, GREEN, RED, YELLOW};

/// Members that have their own place in the line or that readers do not need.
const OMITTED_FIELDS: [&str; 7] = ["timestamp", "level", "message", "target", "spans", "span", "name"];

/// Formats a JSON record as time, level, message and fields; returns other lines unchanged.
pub fn format_line(line: &str) -> Cow<'_, str> {
    let Ok(Value::Object(record)) = serde_json::from_str(line) else {
        return line.into();
    };
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let (Some(timestamp), Some(level), Some(message)) = (text("timestamp"), text("level"), text("message"))
    else {
        return line.into();
    };
    let style = level_style(level);
    let mut fields = String::new();
    push_fields(&mut fields, &record);
    for span in record
        .get("spans")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
    {
        push_fields(&mut fields, span);
    }
    format!(
        "{DIM}{}{DIM:#} {style}{level:5}{style:#} {message}{DIM}{fields}{DIM:#}",
        time_of_day(timestamp)
    )
    .into()
}

fn level_style(level: &str) -> Style {
    match level {
        "ERROR" => RED,
        "WARN" => YELLOW,
        "INFO" => GREEN,
        _ => DIM,
    }
}

fn push_fields(fields: &mut String, members: &Map<String, Value>) {
    for (key, value) in members
        .iter()
        .filter(|(key, _)| !OMITTED_FIELDS.contains(&key.as_str()))
    {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fields.push_str(&format!(" {key}={value}"));
    }
}

/// Extracts `09:27:07.067` from `2026-11-21T09:27:07.067555Z`; date and microseconds are rarely useful in a
/// local log.
fn time_of_day(timestamp: &str) -> &str {
    let time = timestamp.split_once('T').map_or(timestamp, |(_, time)| time);
    time.get(..12).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_a_record_with_its_fields_and_spans() {
        let line = r#"{"timestamp":"2026-11-21T09:27:07.067555Z","level":"INFO","message":"answered",
            "status":200,"target":"web::trace","spans":[{"route":"/ready","name":"request"}]}"#;
        let plain = anstream::adapter::strip_str(&format_line(line)).to_string();
        assert_eq!(plain, "09:27:07.067 INFO  answered status=200 route=/ready");
    }

    #[test]
    fn returns_other_lines_unchanged() {
        assert_eq!(
            format_line("LOG:  starting PostgreSQL"),
            "LOG:  starting PostgreSQL"
        );
        assert_eq!(format_line(r#"{"level":"INFO"}"#), r#"{"level":"INFO"}"#);
    }
}
