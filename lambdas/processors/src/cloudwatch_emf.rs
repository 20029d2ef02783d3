//! Metrics as CloudWatch reads them out of a function's log: the embedded metric format.

use std::io::{self, Write};

use domain::Timestamp;
use serde_json::{Map, Value, json};

/// A metric: its name, its unit as CloudWatch knows it, its value.
pub type Metric = (&'static str, &'static str, u64);

/// Writes one line that says them all, without dimensions. With one call, because functions may share an output.
pub fn emit(namespace: &str, at: Timestamp, metrics: &[Metric]) {
    let line = log_line(namespace, at, metrics).to_string() + "\n";
    // There is nowhere left to report that the log cannot be written.
    let _ = io::stdout().write_all(line.as_bytes());
}

fn log_line(namespace: &str, at: Timestamp, metrics: &[Metric]) -> Value {
    let named = |(name, unit, _): &Metric| json!({"Name": name, "Unit": unit});
    let directive = json!({
        "Namespace": namespace,
        "Dimensions": [[]],
        "Metrics": metrics.iter().map(named).collect::<Vec<_>>(),
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
