//! The requests to the local AWS, from its CloudTrail, which also records calls of the data plane.

use std::collections::HashSet;

use anyhow::Context as _;
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;

/// The maximum page size of LookupEvents.
const PAGE_SIZE: usize = 50;

/// A recorded request to the local AWS.
#[derive(Debug)]
pub struct RecordedRequest {
    /// For example `dynamodb`.
    pub service: String,
    /// For example `PutItem`. The HTTP method, for services that do not send the operation in a header.
    pub operation: String,
    /// The request body.
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
    /// Unix time in seconds, with microseconds.
    event_time: f64,
    event_name: String,
    event_source: String,
    /// The event itself, as JSON.
    cloud_trail_event: String,
}

/// Starts or stops the recording. Recorded requests stay available.
///
/// # Errors
/// Fails when the local AWS is not MiniStack.
pub async fn set_recording(context: &Context, on: bool) -> anyhow::Result<()> {
    let url = format!("{}/_ministack/config", context.addresses.aws);
    let switch = json!({"cloudtrail._recording_enabled": on.to_string()});
    let client = reqwest::Client::builder().no_proxy().build()?;
    let response = client.post(url).json(&switch).send().await?;
    response
        .error_for_status()
        .context("cannot configure the recording of the local AWS")?;
    Ok(())
}

/// Returns the requests of a time range, newest first. CloudTrail keeps the last 10,000 requests.
///
/// # Errors
/// Fails when a request to the local AWS fails.
pub async fn lookup_requests(
    context: &Context,
    from: Timestamp,
    to: Timestamp,
) -> anyhow::Result<Vec<RecordedRequest>> {
    let [from, mut to] = [from, to].map(|at| at.timestamp_micros() as f64 / 1e6);
    let (mut seen, mut requests) = (HashSet::new(), Vec::new());
    loop {
        let input = json!({"StartTime": from, "EndTime": to, "MaxResults": PAGE_SIZE});
        let target = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents";
        let page: LookupEventsPage =
            serde_json::from_value(call_aws(context, "cloudtrail", target, &input).await?)?;
        let (count, known) = (page.events.len(), requests.len());
        for event in page.events {
            // Events are sorted newest first and there is no cursor, so the next page ends at the oldest
            // event here.
            to = to.min(event.event_time);
            if seen.insert(event.event_id) {
                let mut body: Value = serde_json::from_str(&event.cloud_trail_event)?;
                requests.push(RecordedRequest {
                    service: event
                        .event_source
                        .split('.')
                        .next()
                        .expect("splitting a string returns at least one part")
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

/// Calls an operation of the local AWS with the JSON protocol. MiniStack does not verify the signature.
///
/// # Errors
/// Fails when the request fails or the status is not a success.
pub async fn call_aws(
    context: &Context,
    service: &str,
    target: &str,
    input: &Value,
) -> anyhow::Result<Value> {
    let signature = format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/ap-northeast-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    );
    let client = reqwest::Client::builder().no_proxy().build()?;
    let response = client
        .post(&context.addresses.aws)
        .header("authorization", signature)
        .header("x-amz-target", target)
        .header("content-type", "application/x-amz-json-1.1")
        .body(input.to_string())
        .send()
        .await?
        .error_for_status()
        .with_context(|| format!("the local AWS rejected {target}"))?;
    Ok(response.json().await?)
}
