//! The public keys that verify people's tokens, read where their issuer publishes them.
//!
//! They are read at the start, every few minutes, and when a token names one that is not known. A new key is published
//! hours before it signs, so the last is rare, and whoever makes up names of keys has none read more often than that.

use std::time::Duration;

use access_tokens::{InvalidJwks, Verifier, Wish};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// How old the keys may become.
const FRESH: Duration = Duration::from_secs(300);

/// When they are read again after a failure.
const AGAIN: Duration = Duration::from_secs(30);

/// The same, as long as there are none and nobody can come in.
const SOON: Duration = Duration::from_secs(1);

/// How far apart they are read, however many tokens wish for it.
const APART: Duration = Duration::from_secs(5);

/// An issuer that does not answer for so long has not answered.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps a verifier's keys to what the issuer publishes.
#[derive(Debug)]
pub struct PeoplesKeys {
    http: reqwest::Client,
    url: String,
    verifier: Verifier,
    wishes: mpsc::Receiver<Wish>,
}

/// Why the keys are as they were.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the issuer does not answer with its keys")]
    Http(#[from] reqwest::Error),
    #[error("the issuer's keys cannot be used")]
    Keys(#[from] InvalidJwks),
}

impl PeoplesKeys {
    /// Reads the keys of `verifier` at `url`; `wishes` came with it.
    ///
    /// # Errors
    /// When this machine has no certificates to know the issuer by.
    pub fn new(
        url: String,
        verifier: Verifier,
        wishes: mpsc::Receiver<Wish>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            url,
            verifier,
            wishes,
        })
    }

    /// Does so for as long as the program runs.
    pub async fn run(mut self) {
        let mut due = Instant::now();
        let mut wishes_count_from = due;
        loop {
            let wish = tokio::select! {
                () = sleep_until(due) => None,
                Some(wish) = self.wishes.recv() => Some(wish),
            };
            // Whoever wishes too soon is told so by the wish being dropped.
            if wish.is_some() && Instant::now() < wishes_count_from {
                continue;
            }
            let read = self.read().await;
            wishes_count_from = Instant::now() + APART;
            due = Instant::now()
                + match read {
                    Ok(()) => FRESH,
                    Err(error) => {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::warn!(
                            error,
                            url = self.url,
                            "the keys of people's tokens cannot be read"
                        );
                        if self.verifier.has_keys() { AGAIN } else { SOON }
                    }
                };
        }
    }

    async fn read(&self) -> Result<(), ReadError> {
        let answer = self.http.get(&self.url).send().await?.error_for_status()?;
        self.verifier.replace_keys(&answer.text().await?)?;
        Ok(())
    }
}
