//! CloudWatch embedded metric format (EMF): metrics that CloudWatch extracts from a function's log.

use std::io::{self, Write};

use domain::Timestamp;
use serde_json::{Map, Value, json};

/// A metric's name, CloudWatch unit and value.
pub type Metric = (&'static str, &'static str, u64);

/// Writes all metrics, without dimensions, as one log line. Uses a single write: several processes may share
/// the output, and their lines must not mix.
pub fn emit(namespace: &str, at: Timestamp, metrics: &[Metric]) {
    let line = log_line(namespace, at, metrics).to_string() + "\n";
    // A log that cannot be written cannot be reported anywhere.
    let _ = io::stdout().write_all(line.as_bytes());
}

fn log_line(namespace: &str, at: Timestamp, metrics: &[Metric]) -> Value {
    let definition = |(name, unit, _): &Metric| json!({"Name": name, "Unit": unit});
    let directive = json!({
        "Namespace": namespace,
        "Dimensions": [[]],
        "Metrics": metrics.iter().map(definition).collect::<Vec<_>>(),
    });
    let mut line: Map<String, Value> = metrics
        .iter()
        .map(|(name, _, value)| ((*name).to_owned(), json!(value)))
        .collect();
    line.insert(
        "_aws".to_owned(),
        json!({"Timestamp": at.timestamp_millis(), "CloudWatchMetrics": [directive]}),
    );
    Value::Object(line)
}
