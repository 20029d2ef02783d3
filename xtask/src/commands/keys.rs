//! `cargo xtask keys`: for those who bring the system up in containers.

use std::process::ExitCode;

use anyhow::Result;

use crate::paths::{Instance, Kind};
use crate::system;

/// Makes the keys that are missing.
///
/// # Errors
/// When they cannot be made.
pub fn run() -> Result<ExitCode> {
    let instance = Instance::of(Kind::Development);
    system::prepare_keys(&instance)?;
    anstream::eprintln!("  the keys lie in {}", instance.keys().display());
    Ok(ExitCode::SUCCESS)
}
