//! Readiness of the API gateway.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::environment::Addresses;
use crate::http;
use crate::signals::Interrupt;
use crate::supervisor::POLL_INTERVAL;

/// How long the gateway may take until it reaches its integrations.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether the gateway reaches both of its integrations: core-api and the Lambda functions.
pub fn is_ready(addresses: &Addresses) -> bool {
    let gateway_url = addresses.gateway_url();
    ["/v1/categories", "/.well-known/jwks.json"]
        .iter()
        .all(|path| http::is_ok(&format!("{gateway_url}{path}")))
}

/// # Errors
/// When the gateway is not ready within [`READY_TIMEOUT`], or the user interrupts the command.
pub fn wait_until_ready(addresses: &Addresses, interrupt: &Interrupt) -> Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    while !is_ready(addresses) {
        interrupt.check()?;
        if Instant::now() > deadline {
            bail!(
                "the API gateway at {} does not reach core-api and the functions after {} s",
                addresses.gateway_url(),
                READY_TIMEOUT.as_secs()
            );
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
