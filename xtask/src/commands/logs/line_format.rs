//! One line of a log, made readable.

use std::borrow::Cow;

use anstyle::Style;
use serde_json::{Map, Value};

use crate::progress::{DIM, GREEN, RED, YELLOW};

/// Members that are shown in a way of their own, or tell a person nothing.
const OMITTED_FIELDS: [&str; 7] = ["timestamp", "level", "message", "target", "spans", "span", "name"];

/// What our programs log as JSON becomes time, level, message and the facts; other lines stay as they are.
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
    let mut facts = String::new();
    push_fields(&mut facts, &record);
    for span in record
        .get("spans")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
    {
        push_fields(&mut facts, span);
    }
    format!(
        "{DIM}{}{DIM:#} {style}{level:5}{style:#} {message}{DIM}{facts}{DIM:#}",
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

fn push_fields(facts: &mut String, members: &Map<String, Value>) {
    for (key, value) in members
        .iter()
        .filter(|(key, _)| !OMITTED_FIELDS.contains(&key.as_str()))
    {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        facts.push_str(&format!(" {key}={value}"));
    }
}

/// `09:27:07.067` of `2026-11-21T09:27:07.067555Z`: the day is today's, and microseconds decide nothing.
fn time_of_day(timestamp: &str) -> &str {
    let time = timestamp.split_once('T').map_or(timestamp, |(_, time)| time);
    time.get(..12).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_a_sentence_with_its_facts() {
        let line = r#"{"timestamp":"2026-11-21T09:27:07.067555Z","level":"INFO","message":"answered","status":200,
            "target":"web::trace","spans":[{"route":"/ready","name":"request"}]}"#;
        let plain = anstream::adapter::strip_str(&format_line(line)).to_string();
        assert_eq!(plain, "09:27:07.067 INFO  answered status=200 route=/ready");
    }

    #[test]
    fn what_is_no_record_stays_as_it_is() {
        assert_eq!(
            format_line("LOG:  starting PostgreSQL"),
            "LOG:  starting PostgreSQL"
        );
        assert_eq!(format_line(r#"{"level":"INFO"}"#), r#"{"level":"INFO"}"#);
    }
}
