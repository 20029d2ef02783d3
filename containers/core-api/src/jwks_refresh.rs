//! JWKS refresh: keeps the public keys that verify user tokens up to date with the issuer's JWKS endpoint.
//!
//! The keys are fetched at startup, every few minutes, and when a token has an unknown key id. The issuer
//! publishes a new key hours before it signs with it, so unknown key ids are rare. A cool-down bounds the
//! requests that tokens with forged key ids cause.

use std::time::Duration;

use tokens::{JwksError, KeyRefreshRequest, TokenVerifier};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// The time between two regular refreshes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// The delay before the next attempt after a failed refresh.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The delay before the next attempt while there are no keys and therefore no request can be authenticated.
const INITIAL_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The minimum time between a refresh and one that an unknown key id requests.
const REFRESH_COOLDOWN: Duration = Duration::from_secs(5);

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The background task that refreshes the keys of a [`TokenVerifier`].
#[derive(Debug)]
pub struct JwksRefresher {
    http: reqwest::Client,
    url: String,
    verifier: TokenVerifier,
    refresh_requests: mpsc::Receiver<KeyRefreshRequest>,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("JWKS request failed")]
    Http(#[from] reqwest::Error),
    #[error("invalid JWKS")]
    InvalidKeys(#[from] JwksError),
}

impl JwksRefresher {
    /// Refreshes the keys of `verifier` from `url`. `refresh_requests` is the channel that the verifier was
    /// created with.
    ///
    /// # Errors
    /// When the system has no root certificates.
    pub fn new(
        url: String,
        verifier: TokenVerifier,
        refresh_requests: mpsc::Receiver<KeyRefreshRequest>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            url,
            verifier,
            refresh_requests,
        })
    }

    /// Runs until the service stops.
    pub async fn run(mut self) {
        let mut due = Instant::now();
        let mut cooldown_until = due;
        loop {
            let request = tokio::select! {
                () = sleep_until(due) => None,
                Some(request) = self.refresh_requests.recv() => Some(request),
            };
            // Requests within the cool-down are dropped, which wakes the caller with an error.
            if request.is_some() && Instant::now() < cooldown_until {
                continue;
            }
            let result = self.refresh().await;
            cooldown_until = Instant::now() + REFRESH_COOLDOWN;
            due = Instant::now()
                + match result {
                    Ok(()) => REFRESH_INTERVAL,
                    Err(error) => {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::warn!(error, url = self.url, "JWKS refresh failed");
                        if self.verifier.has_keys() {
                            RETRY_INTERVAL
                        } else {
                            INITIAL_RETRY_INTERVAL
                        }
                    }
                };
        }
    }

    async fn refresh(&self) -> Result<(), FetchError> {
        let response = self.http.get(&self.url).send().await?.error_for_status()?;
        self.verifier.replace_keys(&response.text().await?)?;
        Ok(())
    }
}
