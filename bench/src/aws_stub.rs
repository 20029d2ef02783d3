//! A stub of AWS that responds immediately and stores nothing. MiniStack serves only a few hundred requests
//! per second and would be the bottleneck of a benchmark. The stub supports only the operations that
//! benchmarks need.

use std::{collections::HashMap, thread, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How long a receive request waits: the stub's queues are always empty.
const LONG_POLL: Duration = Duration::from_secs(20);

/// Secret name → value.
pub type Secrets = HashMap<String, String>;

#[derive(Deserialize)]
struct PutEventsRequest {
    #[serde(rename = "Entries")]
    entries: Vec<IgnoredAny>,
}

/// Starts the stub on a separate thread, where it runs until the process exits. Returns its base URL.
///
/// # Errors
/// Fails when no port is free.
pub fn start(secrets: Secrets) -> anyhow::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = format!("http://{}", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new().name("aws".to_owned()).spawn(move || {
        runtime.block_on(async {
            let router = Router::new().fallback(handle_request).with_state(secrets);
            let listener =
                TcpListener::from_std(listener).context("cannot register the listener with the runtime")?;
            axum::serve(listener, router)
                .await
                .context("the AWS stub stopped")
        })
    })?;
    Ok(address)
}

async fn handle_request(State(secrets): State<Secrets>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let output = match operation {
        "PutEvents" => {
            let Ok(put) = serde_json::from_slice::<PutEventsRequest>(&body) else {
                return StatusCode::BAD_REQUEST.into_response();
            };
            let entries: Vec<Value> = put
                .entries
                .iter()
                .map(|_| json!({"EventId": "accepted"}))
                .collect();
            json!({"FailedEntryCount": 0, "Entries": entries})
        }
        "DescribeEventBus" => json!({"Name": "bus"}),
        "GetQueueUrl" => json!({"QueueUrl": "http://queue.invalid/000000000000/queue"}),
        "ReceiveMessage" => {
            tokio::time::sleep(LONG_POLL).await;
            json!({})
        }
        // Reads find nothing, and writes succeed.
        "GetItem" | "PutItem" | "Query" | "Scan" | "DescribeTable" => json!({}),
        "DescribeStateMachine" => json!({
            "stateMachineArn": "arn:aws:states:ap-northeast-1:000000000000:stateMachine:order-saga",
            "name": "order-saga", "definition": "{}", "type": "STANDARD", "creationDate": 0,
            "roleArn": "arn:aws:iam::000000000000:role/order-saga",
        }),
        "GetSecretValue" => {
            let Ok(input) = serde_json::from_slice::<Value>(&body) else {
                return StatusCode::BAD_REQUEST.into_response();
            };
            match input["SecretId"]
                .as_str()
                .and_then(|name| Some((name, secrets.get(name)?)))
            {
                Some((name, value)) => json!({"Name": name, "SecretString": value}),
                None => return StatusCode::NOT_FOUND.into_response(),
            }
        }
        _ => return (StatusCode::NOT_IMPLEMENTED, target.to_owned()).into_response(),
    };
    (
        [(header::CONTENT_TYPE, "application/x-amz-json-1.1")],
        output.to_string(),
    )
        .into_response()
}
