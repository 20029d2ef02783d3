//! Installs dynoxide, a DynamoDB emulator from crates.io that only one benchmark needs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::progress::Step;
use crate::{cargo, instance};

/// Package and version. dynoxide responds several times as fast as the DynamoDB of the local AWS.
const PACKAGE: (&str, &str) = ("dynoxide-rs", "3.2.0");

/// Installs dynoxide if it is missing, and returns its path.
///
/// # Errors
/// When cargo cannot download or compile it; cargo prints the reason.
pub fn find_or_install(step: &Step) -> Result<PathBuf> {
    let root = instance::local_dir().join("tools");
    let executable = root.join("bin/dynoxide");
    let (package, version) = PACKAGE;
    let output = Command::new(&executable).arg("--version").output();
    if output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version)) {
        step.set_outcome("up to date");
        return Ok(executable);
    }
    step.print_note(&format!(
        "compiling {package} {version} from crates.io into .local/tools: takes a few minutes, only once"
    ));
    let mut install = cargo::cargo_command();
    install
        .args(["install", "--quiet", "--locked", "--no-default-features"])
        // The default features take most of the compile time, and we do not use them.
        .args(["--features", "native-sqlite,http-server,cli"])
        .arg("--root")
        .arg(&root)
        .arg(format!("{package}@{version}"));
    if !step.suspend(|| install.status())?.success() {
        bail!("cargo could not install {package} {version}");
    }
    step.set_outcome("installed");
    Ok(executable)
}
