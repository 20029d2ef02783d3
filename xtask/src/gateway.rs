//! The front door: whether people can come in by it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::environment::Addresses;
use crate::http;
use crate::signals::Interrupt;
use crate::supervisor::POLL_INTERVAL;

/// How long it may take until it leads to those behind it.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether it leads to core-api and to the functions.
pub fn is_ready(addresses: &Addresses) -> bool {
    let door = addresses.gateway_url();
    ["/v1/categories", "/.well-known/jwks.json"]
        .iter()
        .all(|path| http::is_ok(&format!("{door}{path}")))
}

/// Waits until it is open.
///
/// # Errors
/// When it does not open, or we were asked to stop.
pub fn wait_until_ready(addresses: &Addresses, interrupt: &Interrupt) -> Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    while !is_ready(addresses) {
        interrupt.check()?;
        if Instant::now() > deadline {
            bail!("{} leads nowhere", addresses.gateway_url());
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
