//! EventBridge stub: an HTTP server that answers each PutEvents call with a configured outcome.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use aws_sdk_eventbridge::config::{Builder, retry::RetryConfig};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use domain::EventId;
use event_publishing::Publisher;
use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Outcome of one PutEvents call.
#[derive(Clone, Copy)]
pub enum CallOutcome {
    /// The entries at these positions fail with this code; the others are accepted.
    EntriesFail(&'static [usize], &'static str),
    /// The whole call fails with this status and error code.
    CallRejected(u16, &'static str),
    /// Calls with more than one entry are rejected, as if they exceeded the size limit.
    TooLarge,
    /// All entries are accepted, and the connection breaks during the response.
    ResponseLost,
    /// The stub never answers. The call hangs until the client gives up.
    Hangs,
}

#[derive(Default)]
struct StubState {
    outcomes: VecDeque<CallOutcome>,
    calls: Vec<Vec<EventId>>,
    accepted: Vec<EventId>,
    hanging: usize,
}

/// Counts a call as hanging until the client closes the connection, which drops the handler.
struct HangingCall(Arc<Mutex<StubState>>);

impl HangingCall {
    fn new(state: Arc<Mutex<StubState>>) -> Self {
        state.lock().unwrap().hanging += 1;
        Self(state)
    }
}

impl Drop for HangingCall {
    fn drop(&mut self) {
        self.0.lock().unwrap().hanging -= 1;
    }
}

/// Accepts everything once the configured outcomes are used up.
#[derive(Clone)]
pub struct EventBridgeStub(Arc<Mutex<StubState>>, String);

impl EventBridgeStub {
    pub async fn new(outcomes: &[CallOutcome]) -> Self {
        let state = Arc::new(Mutex::new(StubState {
            outcomes: outcomes.iter().copied().collect(),
            ..StubState::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/", post(put_events))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self(state, url)
    }

    /// A publisher without SDK retries, so that only the relay retries.
    pub async fn publisher(&self) -> Publisher {
        let config = Builder::from(&aws_client::sdk_config().await)
            .endpoint_url(&self.1)
            .retry_config(RetryConfig::disabled());
        Publisher::new(aws_sdk_eventbridge::Client::from_conf(config.build()), "stub")
    }

    /// Event ids of each call.
    pub fn calls(&self) -> Vec<Vec<EventId>> {
        self.0.lock().unwrap().calls.clone()
    }

    /// How many calls hang at present.
    pub fn hanging(&self) -> usize {
        self.0.lock().unwrap().hanging
    }

    /// Ids of the accepted events, in order of acceptance.
    pub fn accepted(&self) -> Vec<EventId> {
        self.0.lock().unwrap().accepted.clone()
    }
}

async fn put_events(state: State<Arc<Mutex<StubState>>>, body: Bytes) -> Response {
    if let Some(response) = answer(&state, &body) {
        return response;
    }
    let _hanging = HangingCall::new(Arc::clone(&state));
    std::future::pending().await
}

/// Returns `None` if the call hangs.
fn answer(state: &Mutex<StubState>, body: &[u8]) -> Option<Response> {
    let request: Value = serde_json::from_slice(body).unwrap();
    let ids: Vec<EventId> = request["Entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
            serde_json::from_value(detail["event_id"].clone()).unwrap()
        })
        .collect();
    let mut state = state.lock().unwrap();
    state.calls.push(ids.clone());
    let outcome = match state.outcomes.front() {
        // This outcome stays in force while calls have more than one entry.
        Some(CallOutcome::TooLarge) if ids.len() == 1 => None,
        Some(CallOutcome::TooLarge) => Some(CallOutcome::TooLarge),
        _ => state.outcomes.pop_front(),
    };
    let (failing, code): (&[usize], _) = match outcome {
        Some(CallOutcome::Hangs) => return None,
        Some(CallOutcome::CallRejected(status, code)) => return Some(error_response(status, code)),
        Some(CallOutcome::TooLarge) => return Some(error_response(400, "ValidationException")),
        Some(CallOutcome::ResponseLost) => {
            state.accepted.extend(ids);
            let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other(
                "connection closed by the test",
            ))]);
            return Some(Body::from_stream(broken).into_response());
        }
        Some(CallOutcome::EntriesFail(positions, code)) => (positions, code),
        None => (&[], ""),
    };
    let mut entries = Vec::new();
    for (position, id) in ids.into_iter().enumerate() {
        if failing.contains(&position) {
            entries.push(json!({"ErrorCode": code, "ErrorMessage": "configured by the test"}));
        } else {
            entries.push(json!({"EventId": id}));
            state.accepted.push(id);
        }
    }
    let body = json!({"FailedEntryCount": failing.len(), "Entries": entries});
    Some(axum::Json(body).into_response())
}

fn error_response(status: u16, code: &str) -> Response {
    let body = json!({"__type": code, "message": "configured by the test"});
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}
