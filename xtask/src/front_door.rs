//! The front door: whether people can come in by it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::environment::Addresses;
use crate::http;
use crate::signals::Interrupt;
use crate::supervise::TICK;

/// How long it may take until it leads to those behind it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether it leads to core-api and to the functions.
pub fn is_open(addresses: &Addresses) -> bool {
    let door = addresses.front_door();
    ["/v1/categories", "/.well-known/jwks.json"]
        .iter()
        .all(|path| http::is_ok(&format!("{door}{path}")))
}

/// Waits until it is open.
///
/// # Errors
/// When it does not open, or we were asked to stop.
pub fn await_open(addresses: &Addresses, interrupt: &Interrupt) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_open(addresses) {
        interrupt.check()?;
        if Instant::now() > deadline {
            bail!("{} leads nowhere", addresses.front_door());
        }
        thread::sleep(TICK);
    }
    Ok(())
}
