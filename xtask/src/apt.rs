//! Programs of the machine that are missing, from Debian's packages where we may install them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Whether we may install packages: Debian or its kin, and we are root.
pub fn is_available() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Installs packages, without what they merely recommend.
///
/// # Errors
/// When `apt-get` fails; the error holds what it said.
pub fn install(names: &[&str]) -> Result<()> {
    let install = || run_apt_get(&[&["install", "--yes", "--no-install-recommends"], names].concat());
    // A fresh machine has no lists; one with lists should not wait for new ones.
    install().or_else(|_| run_apt_get(&["update"]).and_then(|()| install()))
}

fn run_apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(["-q"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("cannot run apt-get")?;
    if !output.status.success() {
        bail!(
            "apt-get {} failed:\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
