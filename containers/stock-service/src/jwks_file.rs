//! The file with the public keys that verify service tokens: read at start, and again when it may have
//! changed.

use std::{fs, io, path::PathBuf, time::Duration};

use tokens::{JwksError, KeyRefreshRequest, TokenVerifier};
use tokio::{sync::mpsc, time::timeout};

/// The time after which a removed key is no longer accepted. A new key is accepted at once, because a token
/// with an unknown key makes the verifier request a refresh.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// The JWKS file of a [`TokenVerifier`].
#[derive(Debug)]
pub struct JwksFile {
    path: PathBuf,
    verifier: TokenVerifier,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksFileError {
    #[error("cannot read {0}")]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{0} is not a valid JWKS")]
    Invalid(PathBuf, #[source] JwksError),
}

impl JwksFile {
    /// Gives the keys in the file to `verifier`.
    pub fn load(path: PathBuf, verifier: TokenVerifier) -> Result<Self, JwksFileError> {
        let file = Self { path, verifier };
        file.refresh()?;
        Ok(file)
    }

    /// Reads the file every minute and when `requests`, the channel that the verifier was created with, asks
    /// for it. While the file cannot be used, the last keys stay in use. Runs until the service stops.
    pub async fn follow(self, mut requests: mpsc::Receiver<KeyRefreshRequest>) {
        loop {
            // Dropping the request after the refresh wakes its caller.
            let _request = timeout(REFRESH_INTERVAL, requests.recv()).await;
            if let Err(error) = self.refresh() {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(
                    error,
                    "the keys of service tokens cannot be read again; the last ones stay in use"
                );
            }
        }
    }

    fn refresh(&self) -> Result<(), JwksFileError> {
        let unreadable = |error| JwksFileError::Unreadable(self.path.clone(), error);
        let invalid = |error| JwksFileError::Invalid(self.path.clone(), error);
        let jwks = fs::read_to_string(&self.path).map_err(unreadable)?;
        self.verifier.replace_keys(&jwks).map_err(invalid)
    }
}
