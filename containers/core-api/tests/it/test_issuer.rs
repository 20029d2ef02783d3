//! An issuer of user tokens that publishes its JWKS over HTTP.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, task::AbortHandle};

use crate::test_user::jwks;

/// Stops serving when it is dropped.
pub struct TestIssuer {
    pub jwks_url: String,
    state: JwksState,
    server: AbortHandle,
}

#[derive(Clone, Default)]
struct JwksState {
    request_count: Arc<AtomicUsize>,
    jwks: Arc<Mutex<Option<String>>>,
}

impl TestIssuer {
    /// Publishes the keys that verify the tokens of test users.
    pub async fn start() -> Self {
        let issuer = Self::start_without_keys().await;
        issuer.publish(jwks());
        issuer
    }

    /// Responds with 503 until the test publishes keys.
    pub async fn start_without_keys() -> Self {
        let state = JwksState::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let jwks_url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/jwks.json", get(serve_jwks))
            .with_state(state.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            jwks_url,
            state,
            server: server.abort_handle(),
        }
    }

    pub fn publish(&self, jwks: &str) {
        *self.state.jwks.lock().unwrap() = Some(jwks.to_owned());
    }

    pub fn request_count(&self) -> usize {
        self.state.request_count.load(Ordering::SeqCst)
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve_jwks(State(state): State<JwksState>) -> Result<String, StatusCode> {
    state.request_count.fetch_add(1, Ordering::SeqCst);
    let jwks = state.jwks.lock().unwrap().clone();
    jwks.ok_or(StatusCode::SERVICE_UNAVAILABLE)
}
