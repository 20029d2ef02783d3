//! The public keys that verify people's tokens, read where their issuer publishes them.
//!
//! They are read at the start, every few minutes, and when a token names one that is not known. A new key is published
//! hours before it signs, so the last is rare, and whoever makes up names of keys has none read more often than that.

use std::time::Duration;

use tokens::{JwksError, KeyRefreshRequest, TokenVerifier};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// How old the keys may become.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// When they are read again after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The same, as long as there are none and nobody can come in.
const INITIAL_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How far apart they are read, however many tokens wish for it.
const REFRESH_COOLDOWN: Duration = Duration::from_secs(5);

/// An issuer that does not answer for so long has not answered.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps a verifier's keys to what the issuer publishes.
#[derive(Debug)]
pub struct JwksRefresher {
    http: reqwest::Client,
    url: String,
    verifier: TokenVerifier,
    refresh_requests: mpsc::Receiver<KeyRefreshRequest>,
}

/// Why the keys are as they were.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the issuer does not answer with its keys")]
    Http(#[from] reqwest::Error),
    #[error("the issuer's keys cannot be used")]
    InvalidKeys(#[from] JwksError),
}

impl JwksRefresher {
    /// Reads the keys of `verifier` at `url`; `wishes` came with it.
    ///
    /// # Errors
    /// When this machine has no certificates to know the issuer by.
    pub fn new(
        url: String,
        verifier: TokenVerifier,
        wishes: mpsc::Receiver<KeyRefreshRequest>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            url,
            verifier,
            refresh_requests: wishes,
        })
    }

    /// Does so for as long as the program runs.
    pub async fn run(mut self) {
        let mut due = Instant::now();
        let mut wishes_count_from = due;
        loop {
            let wish = tokio::select! {
                () = sleep_until(due) => None,
                Some(wish) = self.refresh_requests.recv() => Some(wish),
            };
            // Whoever wishes too soon is told so by the wish being dropped.
            if wish.is_some() && Instant::now() < wishes_count_from {
                continue;
            }
            let read = self.refresh().await;
            wishes_count_from = Instant::now() + REFRESH_COOLDOWN;
            due = Instant::now()
                + match read {
                    Ok(()) => REFRESH_INTERVAL,
                    Err(error) => {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::warn!(
                            error,
                            url = self.url,
                            "the keys of people's tokens cannot be read"
                        );
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
        let answer = self.http.get(&self.url).send().await?.error_for_status()?;
        self.verifier.replace_keys(&answer.text().await?)?;
        Ok(())
    }
}
