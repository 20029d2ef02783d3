//! A few calls to the local AWS, over its JSON protocol. Not for the real one: requests carry a signature in form
//! only, which names the region and nothing more.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::environment::{Addresses, REGION};
use crate::http;

/// Calls `operation`, named as in the service's API model (`AWSStepFunctions.GetExecutionHistory`).
///
/// # Errors
/// When nobody answers, or the answer is an error; the message begins with the error's type.
pub fn call(addresses: &Addresses, service: &str, operation: &str, input: &Value) -> Result<Value> {
    let mut response = http::client()
        .post(addresses.aws())
        .header("authorization", signature(service))
        .header("x-amz-target", operation)
        .content_type(content_type(service))
        .send(input.to_string())
        .with_context(|| format!("the local AWS does not answer at {}", addresses.aws()))?;
    let body = response.body_mut().read_to_string().unwrap_or_default();
    let value = serde_json::from_str(&body).unwrap_or(Value::Null);
    if response.status().is_success() {
        return Ok(value);
    }
    // "com.amazonaws.logs#ResourceNotFoundException", or the last part alone
    let kind = value.get("__type").and_then(Value::as_str).unwrap_or("error");
    let kind = kind.rsplit('#').next().unwrap_or(kind);
    let message = ["message", "Message"]
        .iter()
        .find_map(|key| value.get(key)?.as_str())
        .unwrap_or(&body);
    bail!("{kind}: {message}")
}

fn signature(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

fn content_type(service: &str) -> &'static str {
    match service {
        "dynamodb" | "sqs" | "states" => "application/x-amz-json-1.0",
        _ => "application/x-amz-json-1.1",
    }
}
