//! An issuer that publishes its keys, and what becomes of those who come by a key of its.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use access_tokens::{InvalidToken, Verifier};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use core_api::peoples_keys::PeoplesKeys;
use domain::Clock;
use tokio::{net::TcpListener, task::AbortHandle, time::Instant};

use crate::{
    app::customer,
    tokens::{AUDIENCE, ISSUER, jwks},
};

/// An issuer. It is gone when it is dropped.
pub struct Issuer {
    pub jwks_url: String,
    asked: Arc<AtomicUsize>,
    published: Arc<Mutex<Option<String>>>,
    server: AbortHandle,
}

#[derive(Clone)]
struct Published {
    asked: Arc<AtomicUsize>,
    jwks: Arc<Mutex<Option<String>>>,
}

impl Issuer {
    /// One that publishes the keys of everybody's tokens.
    pub async fn start() -> Self {
        let issuer = Self::silent().await;
        issuer.publish(jwks());
        issuer
    }

    /// One that has not come up yet.
    async fn silent() -> Self {
        let state = Published {
            asked: Arc::default(),
            jwks: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let jwks_url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/jwks.json", get(answer))
            .with_state(state.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            jwks_url,
            asked: state.asked,
            published: state.jwks,
            server: server.abort_handle(),
        }
    }

    fn publish(&self, jwks: &str) {
        *self.published.lock().unwrap() = Some(jwks.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A verifier whose keys are read here.
    fn verifier(&self) -> Verifier {
        let (verifier, wishes) = Verifier::awaiting_keys(ISSUER, AUDIENCE, Clock::system());
        let keys = PeoplesKeys::new(self.jwks_url.clone(), verifier.clone(), wishes).unwrap();
        tokio::spawn(keys.run());
        verifier
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(published): State<Published>) -> Result<String, StatusCode> {
    published.asked.fetch_add(1, Ordering::SeqCst);
    let jwks = published.jwks.lock().unwrap().clone();
    jwks.ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// The key set with its key under another name.
fn renamed(kid: &str) -> String {
    jwks().replace("customers-1", kid)
}

#[tokio::test]
async fn an_issuer_that_comes_up_late_is_waited_for() {
    let issuer = Issuer::silent().await;
    let verifier = issuer.verifier();
    let token = customer().token();
    assert_eq!(
        verifier.verify_by_fresh_keys(&token).await,
        Err(InvalidToken::NoKeys)
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
    let issuer = Issuer::silent().await;
    issuer.publish(&renamed("of yesterday"));
    let verifier = issuer.verifier();
    while !verifier.has_keys() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let token = customer().token();
    assert_eq!(verifier.verify(&token), Err(InvalidToken::UnknownKey));

    // The first read was a moment ago; a wish is heard some seconds after it.
    issuer.publish(jwks());
    let deadline = Instant::now() + Duration::from_secs(20);
    while verifier.verify_by_fresh_keys(&token).await.is_err() {
        assert!(Instant::now() < deadline, "the new key is not read");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = issuer.asked();
    issuer.publish("not keys");
    assert!(verifier.verify_by_fresh_keys(&token).await.is_ok());
    assert_eq!(issuer.asked(), before, "a known key asks for nothing");
}

#[tokio::test]
async fn tokens_with_made_up_keys_do_not_wear_the_issuer_out() {
    let issuer = Issuer::silent().await;
    issuer.publish(&renamed("the only one"));
    let verifier = issuer.verifier();
    let token = customer().token();
    let until = Instant::now() + Duration::from_secs(2);
    let mut refused = 0;
    while Instant::now() < until {
        assert!(verifier.verify_by_fresh_keys(&token).await.is_err());
        refused += 1;
    }
    assert!(refused > 100, "they do not wait long: {refused}");
    assert!(issuer.asked() <= 2, "it was asked {} times", issuer.asked());
}
