//! The connection of all services to Redis. Redis only coordinates instances: every service works without it,
//! so a call that takes long fails, and the service goes on alone.

#[cfg(feature = "testing")]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
pub mod testing;

use std::time::Duration;

use redis::{
    Client, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::{ExposeSecret, SecretString};

/// The timeout of a call. Redis usually responds in less than a millisecond.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_millis(100);

/// The timeout for connecting, which happens in the background.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to the Redis at `url`, which is opened with the first call and again after it was lost.
/// Clones share it.
///
/// A call can take longer than [`RESPONSE_TIMEOUT`] while the connection is being opened. Callers bound the
/// whole call.
///
/// # Errors
/// When `url` is not a Redis URL.
pub fn connect_lazy(url: &SecretString) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        // Callers decide when the next attempt takes place.
        .set_number_of_retries(0);
    ConnectionManager::new_lazy_with_config(Client::open(url.expose_secret())?, config)
}
