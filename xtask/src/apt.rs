//! Installs missing Debian packages, if this process may do so.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Whether this process can install packages: the machine has `apt-get`, and we are root.
pub fn is_available() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Installs packages without their recommended packages.
///
/// # Errors
/// When `apt-get` fails; the error holds its output.
pub fn install(names: &[&str]) -> Result<()> {
    let install = || run_apt_get(&[&["install", "--yes", "--no-install-recommends"], names].concat());
    // A fresh machine has no package lists, so the first attempt fails there. A machine that has lists need
    // not wait for an update.
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
