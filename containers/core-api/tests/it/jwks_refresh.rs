//! An issuer that publishes its keys, and what becomes of those who come by a key of its.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use core_api::jwks_refresh::JwksRefresher;
use domain::Clock;
use tokens::{TokenError, TokenVerifier};
use tokio::{net::TcpListener, task::AbortHandle, time::Instant};

use crate::{
    authentication::{AUDIENCE, ISSUER, jwks},
    support::new_customer,
};

/// An issuer. It is gone when it is dropped.
pub struct TestIssuer {
    pub jwks_url: String,
    request_count: Arc<AtomicUsize>,
    jwks: Arc<Mutex<Option<String>>>,
    server: AbortHandle,
}

#[derive(Clone)]
struct JwksState {
    request_count: Arc<AtomicUsize>,
    jwks: Arc<Mutex<Option<String>>>,
}

impl TestIssuer {
    /// One that publishes the keys of everybody's tokens.
    pub async fn start() -> Self {
        let issuer = Self::start_without_keys().await;
        issuer.publish(jwks());
        issuer
    }

    /// One that has not come up yet.
    async fn start_without_keys() -> Self {
        let state = JwksState {
            request_count: Arc::default(),
            jwks: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let jwks_url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/jwks.json", get(serve_jwks))
            .with_state(state.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            jwks_url,
            request_count: state.request_count,
            jwks: state.jwks,
            server: server.abort_handle(),
        }
    }

    fn publish(&self, jwks: &str) {
        *self.jwks.lock().unwrap() = Some(jwks.to_owned());
    }

    fn request_count(&self) -> usize {
        self.request_count.load(Ordering::SeqCst)
    }

    /// A verifier whose keys are read here.
    fn verifier(&self) -> TokenVerifier {
        let (verifier, wishes) = TokenVerifier::with_key_refresh(ISSUER, AUDIENCE, Clock::system());
        let keys = JwksRefresher::new(self.jwks_url.clone(), verifier.clone(), wishes).unwrap();
        tokio::spawn(keys.run());
        verifier
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve_jwks(State(published): State<JwksState>) -> Result<String, StatusCode> {
    published.request_count.fetch_add(1, Ordering::SeqCst);
    let jwks = published.jwks.lock().unwrap().clone();
    jwks.ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// The key set with its key under another name.
fn jwks_with_kid(kid: &str) -> String {
    jwks().replace("customers-1", kid)
}

#[tokio::test]
async fn an_issuer_that_comes_up_late_is_waited_for() {
    let issuer = TestIssuer::start_without_keys().await;
    let verifier = issuer.verifier();
    let token = new_customer().token();
    assert_eq!(
        verifier.verify_with_refresh(&token).await,
        Err(TokenError::NoKeys)
    );
    issuer.publish(jwks());
    let deadline = Instant::now() + Duration::from_secs(10);
    while verifier.verify(&token).is_err() {
        assert!(
            Instant::now() < deadline,
            "the keys are there and nobody reads them"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the issuer publishes meanwhile is known to whoever needs it, and what cannot be read changes nothing.
#[tokio::test]
async fn a_new_key_is_read_when_a_token_names_it() {
    let issuer = TestIssuer::start_without_keys().await;
    issuer.publish(&jwks_with_kid("of yesterday"));
    let verifier = issuer.verifier();
    while !verifier.has_keys() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let token = new_customer().token();
    assert_eq!(verifier.verify(&token), Err(TokenError::UnknownKey));

    // The first read was a moment ago; a wish is heard some seconds after it.
    issuer.publish(jwks());
    let deadline = Instant::now() + Duration::from_secs(20);
    while verifier.verify_with_refresh(&token).await.is_err() {
        assert!(Instant::now() < deadline, "the new key is not read");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = issuer.request_count();
    issuer.publish("not keys");
    assert!(verifier.verify_with_refresh(&token).await.is_ok());
    assert_eq!(issuer.request_count(), before, "a known key asks for nothing");
}

#[tokio::test]
async fn tokens_with_made_up_keys_do_not_wear_the_issuer_out() {
    let issuer = TestIssuer::start_without_keys().await;
    issuer.publish(&jwks_with_kid("the only one"));
    let verifier = issuer.verifier();
    let token = new_customer().token();
    let until = Instant::now() + Duration::from_secs(2);
    let mut refused = 0;
    while Instant::now() < until {
        assert!(verifier.verify_with_refresh(&token).await.is_err());
        refused += 1;
    }
    assert!(refused > 100, "they do not wait long: {refused}");
    assert!(
        issuer.request_count() <= 2,
        "it was asked {} times",
        issuer.request_count()
    );
}
