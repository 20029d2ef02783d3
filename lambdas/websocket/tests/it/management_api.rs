//! A simulated management API: it knows which connections are open and records what they receive.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use lambda_shared::testing::start_proxy;
use serde_json::Value;

/// Clones share the state.
#[derive(Clone, Default)]
pub struct ManagementApi(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub open: BTreeSet<String>,
    /// Connection and message, oldest first.
    pub received: Vec<(String, Value)>,
    /// If set, sending fails with 500.
    pub is_down: bool,
}

impl ManagementApi {
    /// Starts the API in front of the local AWS, and returns the URL of both.
    pub async fn start(&self, aws_url: &str) -> String {
        let state = self.clone();
        start_proxy(aws_url, move |request, body| {
            let (_, connection) = request.uri.path().split_once("/@connections/")?;
            Some(state.answer(&request.method, connection, body))
        })
        .await
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, method: &Method, connection: &str, body: &[u8]) -> Response {
        let mut state = self.state();
        if state.is_down {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        if !state.open.contains(connection) {
            return (StatusCode::GONE, [("x-amzn-errortype", "GoneException")], "{}").into_response();
        }
        if method == Method::DELETE {
            state.open.remove(connection);
            return StatusCode::NO_CONTENT.into_response();
        }
        let message = serde_json::from_slice(body).unwrap();
        state.received.push((connection.to_owned(), message));
        StatusCode::OK.into_response()
    }
}
