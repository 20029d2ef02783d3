//! An event bus that does to each call what the test says: on the wire, where faults happen.

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

/// What becomes of one call.
#[derive(Clone, Copy)]
pub enum CallOutcome {
    /// The entries at these positions fail with this code; the others are taken.
    EntriesFail(&'static [usize], &'static str),
    /// The call is refused as a whole.
    CallRejected(u16, &'static str),
    /// A call of more than one entry is refused, as it is when they are too large together.
    TooLarge,
    /// All entries are taken, and the answer breaks off.
    ResponseLost,
}

#[derive(Default)]
struct StubState {
    outcomes: VecDeque<CallOutcome>,
    calls: Vec<Vec<EventId>>,
    accepted: Vec<EventId>,
}

/// The bus. When no fate is left, it takes everything.
#[derive(Clone)]
pub struct EventBridgeStub(Arc<Mutex<StubState>>, String);

impl EventBridgeStub {
    pub async fn new(fates: &[CallOutcome]) -> Self {
        let books = Arc::new(Mutex::new(StubState {
            outcomes: fates.iter().copied().collect(),
            ..StubState::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/", post(put_events))
            .with_state(Arc::clone(&books));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self(books, url)
    }

    /// A publisher to this bus that leaves all repeating to the relay.
    pub async fn publisher(&self) -> Publisher {
        let config = Builder::from(&aws_client::sdk_config().await)
            .endpoint_url(&self.1)
            .retry_config(RetryConfig::disabled());
        Publisher::new(aws_sdk_eventbridge::Client::from_conf(config.build()), "stub")
    }

    /// Which events each call held.
    pub fn calls(&self) -> Vec<Vec<EventId>> {
        self.0.lock().unwrap().calls.clone()
    }

    /// Which events the bus has, in the order in which it took them.
    pub fn accepted(&self) -> Vec<EventId> {
        self.0.lock().unwrap().accepted.clone()
    }
}

async fn put_events(State(books): State<Arc<Mutex<StubState>>>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let ids: Vec<EventId> = request["Entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
            serde_json::from_value(detail["event_id"].clone()).unwrap()
        })
        .collect();
    let mut books = books.lock().unwrap();
    books.calls.push(ids.clone());
    let fate = match books.outcomes.front() {
        // It stays too large as long as there is more than one.
        Some(CallOutcome::TooLarge) if ids.len() == 1 => None,
        Some(CallOutcome::TooLarge) => Some(CallOutcome::TooLarge),
        _ => books.outcomes.pop_front(),
    };
    let (failing, code): (&[usize], _) = match fate {
        Some(CallOutcome::CallRejected(status, code)) => return error_response(status, code),
        Some(CallOutcome::TooLarge) => return error_response(400, "ValidationException"),
        Some(CallOutcome::ResponseLost) => {
            books.accepted.extend(ids);
            let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
            return Body::from_stream(broken).into_response();
        }
        Some(CallOutcome::EntriesFail(positions, code)) => (positions, code),
        None => (&[], ""),
    };
    let mut entries = Vec::new();
    for (position, id) in ids.into_iter().enumerate() {
        if failing.contains(&position) {
            entries.push(json!({"ErrorCode": code, "ErrorMessage": "as the test says"}));
        } else {
            entries.push(json!({"EventId": id}));
            books.accepted.push(id);
        }
    }
    axum::Json(json!({"FailedEntryCount": failing.len(), "Entries": entries})).into_response()
}

fn error_response(status: u16, code: &str) -> Response {
    let body = json!({"__type": code, "message": "as the test says"});
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}
