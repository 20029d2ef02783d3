//! `cargo xtask openapi`: writes the OpenAPI documents.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo;

/// # Errors
/// When the services do not compile, or a document cannot be written.
pub fn run() -> Result<ExitCode> {
    let executable = cargo::build_executable("api-documents")?;
    let status = Command::new(&executable)
        .status()
        .with_context(|| format!("cannot run {}", executable.display()))?;
    if !status.success() {
        bail!("{} failed ({status})", executable.display());
    }
    Ok(ExitCode::SUCCESS)
}
