//! What the local AWS was asked, request by request: its CloudTrail, which keeps the data plane's calls too.

use std::collections::HashSet;

use anyhow::Context as _;
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;

/// LookupEvents gives at most this many at once.
const PAGE_SIZE: usize = 50;

/// A call of the local AWS.
#[derive(Debug)]
pub struct RecordedRequest {
    /// Such as `dynamodb`.
    pub service: String,
    /// Such as `PutItem`; of services without operations in a header the method.
    pub operation: String,
    /// The request's body.
    pub parameters: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LookupEventsPage {
    events: Vec<CloudTrailEvent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CloudTrailEvent {
    event_id: String,
    /// Seconds since 1970, with microseconds.
    event_time: f64,
    event_name: String,
    event_source: String,
    /// The event itself, as JSON.
    cloud_trail_event: String,
}

/// Begins to record, or ends. What was recorded stays.
///
/// # Errors
/// When the local AWS is another one than MiniStack.
pub async fn set_recording(context: &Context, on: bool) -> anyhow::Result<()> {
    let url = format!("{}/_ministack/config", context.addresses.aws);
    let switch = json!({"cloudtrail._recording_enabled": on.to_string()});
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.post(url).json(&switch).send().await?;
    answer
        .error_for_status()
        .context("the local AWS records nothing")?;
    Ok(())
}

/// Every request from one moment to another. It keeps the last 10,000.
///
/// # Errors
/// When the local AWS does not answer.
pub async fn lookup_requests(
    context: &Context,
    from: Timestamp,
    to: Timestamp,
) -> anyhow::Result<Vec<RecordedRequest>> {
    let [from, mut to] = [from, to].map(|at| at.timestamp_micros() as f64 / 1e6);
    let (mut seen, mut requests) = (HashSet::new(), Vec::new());
    loop {
        let asked = json!({"StartTime": from, "EndTime": to, "MaxResults": PAGE_SIZE});
        let target = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents";
        let page: LookupEventsPage =
            serde_json::from_value(call_aws(context, "cloudtrail", target, &asked).await?)?;
        let (count, known) = (page.events.len(), requests.len());
        for event in page.events {
            // Newest first; there is no cursor, so the next page ends where this one does.
            to = to.min(event.event_time);
            if seen.insert(event.event_id) {
                let mut body: Value = serde_json::from_str(&event.cloud_trail_event)?;
                requests.push(RecordedRequest {
                    service: event
                        .event_source
                        .split('.')
                        .next()
                        .unwrap_or_default()
                        .to_owned(),
                    operation: event.event_name,
                    parameters: body["requestParameters"].take(),
                });
            }
        }
        if count < PAGE_SIZE || requests.len() == known {
            return Ok(requests);
        }
    }
}

/// Calls an operation of the local AWS by its JSON protocol. The signature is one in form only.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn call_aws(
    context: &Context,
    service: &str,
    target: &str,
    input: &Value,
) -> anyhow::Result<Value> {
    let signature = format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/ap-northeast-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client
        .post(&context.addresses.aws)
        .header("authorization", signature)
        .header("x-amz-target", target)
        .header("content-type", "application/x-amz-json-1.1")
        .body(input.to_string())
        .send()
        .await?
        .error_for_status()
        .with_context(|| format!("the local AWS refuses {target}"))?;
    Ok(answer.json().await?)
}
