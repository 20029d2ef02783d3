//! Programs from crates.io that one command needs and the others do without.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::progress::Step;
use crate::{cargo, instance};

/// A DynamoDB that answers several times as fast as the local AWS's.
const PACKAGE: (&str, &str) = ("dynoxide-rs", "3.2.0");

/// Installs dynoxide where it is not yet, and returns where it is.
///
/// # Errors
/// When it cannot be fetched or compiled; cargo has said why.
pub fn find_or_install(step: &Step) -> Result<PathBuf> {
    let root = instance::local_dir().join("tools");
    let program = root.join("bin/dynoxide");
    let (package, version) = PACKAGE;
    let said = Command::new(&program).arg("--version").output();
    if said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(version)) {
        step.set_outcome("up to date");
        return Ok(program);
    }
    step.print_note(&format!(
        "compiling {package} {version} from crates.io: some minutes, once, into .local/tools"
    ));
    let mut install = cargo::cargo_command();
    install
        .args(["install", "--quiet", "--locked", "--no-default-features"])
        // Not the rest of it, which is for other uses and takes most of the time.
        .args(["--features", "native-sqlite,http-server,cli"])
        .arg("--root")
        .arg(&root)
        .arg(format!("{package}@{version}"));
    if !step.suspend(|| install.status())?.success() {
        bail!("{package} could not be installed");
    }
    step.set_outcome("installed");
    Ok(program)
}
