//! What functions have used, according to their logs.

use anyhow::Context as _;
use domain::Timestamp;
use serde_json::json;

use crate::{cloudtrail::call_aws, context::Context};

/// The functions' memory in GB, as in the SAM template.
const FUNCTION_GB: f64 = 0.25;

/// Bytes that the Lambda platform logs per invocation in JSON, from start to report. Derived from AWS's
/// examples.
const PLATFORM_LOG_BYTES: f64 = 1_100.0;

/// The usage of some functions together.
#[derive(Debug, Default)]
pub struct FunctionUsage {
    pub invocations: f64,
    billed_seconds: f64,
    /// Bytes that the functions log themselves.
    logged_bytes: f64,
}

impl FunctionUsage {
    /// Reads the usage of these functions since `from` from their logs.
    ///
    /// # Errors
    /// Fails when a log cannot be read.
    pub async fn read(context: &Context, functions: &[&str], from: Timestamp) -> anyhow::Result<Self> {
        let mut usage = Self::default();
        for function in functions {
            let input = json!({"logGroupName": format!("/aws/lambda/{function}"), "startTime": from.timestamp_millis()});
            let log = call_aws(context, "logs", "Logs_20140328.FilterLogEvents", &input).await?;
            for event in log["events"]
                .as_array()
                .context("FilterLogEvents returned no events")?
            {
                let message = event["message"].as_str().context("a log event has no message")?;
                if let Some((_, billed)) = message.split_once("Billed Duration: ") {
                    let milliseconds: f64 = billed
                        .split(' ')
                        .next()
                        .expect("splitting a string returns at least one part")
                        .parse()
                        .context("a Lambda report has no valid duration")?;
                    usage.invocations += 1.0;
                    usage.billed_seconds += milliseconds / 1e3;
                } else if message.starts_with('{') {
                    // CloudWatch adds 26 bytes to each event.
                    usage.logged_bytes += message.len() as f64 + 26.0;
                }
            }
        }
        Ok(usage)
    }

    pub fn gigabyte_seconds(&self) -> f64 {
        self.billed_seconds * FUNCTION_GB
    }

    /// What the functions and the platform log.
    pub fn logged_kilobytes(&self) -> f64 {
        (self.logged_bytes + self.invocations * PLATFORM_LOG_BYTES) / 1e3
    }
}
