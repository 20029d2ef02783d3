//! Builds the workspace's programs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::instance;

/// Every program that a local system runs: three that listen, three families of functions.
const REQUIRED_EXECUTABLES: [&str; 6] = [
    "core-api",
    "stock-service",
    "payment-provider",
    "auth",
    "processors",
    "saga",
];

/// Program name → executable.
pub type Executables = BTreeMap<String, PathBuf>;

/// Builds the programs; cargo shows its own progress. Returns where they lie.
///
/// # Errors
/// When they do not compile; cargo has said why.
pub fn build() -> Result<Executables> {
    let mut command = cargo_command();
    // --workspace, because cargo would otherwise unify features anew for each program and rebuild most dependencies.
    command.args(["build", "--workspace"]);
    for program in REQUIRED_EXECUTABLES {
        command.args(["--bin", program]);
    }
    build_executables(command)
}

/// Builds the programs and the tests together. What only tests depend on turns features on in what both do, so that
/// programs that were built alone would be built a second time for the tests.
///
/// # Errors
/// When they do not compile; cargo has said why.
pub fn build_with_tests() -> Result<Executables> {
    let mut command = cargo_command();
    command.args(["test", "--workspace", "--no-run"]);
    build_executables(command)
}

/// Builds the programs as they are deployed to AWS, with optimisation.
///
/// # Errors
/// When they do not compile; cargo has said why.
pub fn build_release() -> Result<Executables> {
    let mut command = cargo_command();
    command.args(["build", "--workspace", "--bins", "--release"]);
    build_executables(command)
}

/// The program of a package's tests, which [`build_with_tests`] has built.
///
/// # Errors
/// When there is none.
pub fn test_executable(package: &str, test: &str) -> Result<PathBuf> {
    let mut command = cargo_command();
    command.args(["test", "--workspace", "--no-run", "--quiet"]);
    run_for_messages(command)?
        .iter()
        .filter(|message| message.pointer("/profile/test") == Some(&Value::Bool(true)))
        .filter(|message| message.pointer("/target/name").is_some_and(|name| name == test))
        .filter(|message| belongs_to_package(message, package))
        .find_map(|message| Some(message.get("executable")?.as_str()?.into()))
        .with_context(|| format!("cargo told nothing about the tests of {package}"))
}

/// Packages of this workspace lie in a folder of their name.
fn belongs_to_package(message: &Value, package: &str) -> bool {
    let manifest = message.get("manifest_path").and_then(Value::as_str);
    manifest.is_some_and(|path| path.ends_with(&format!("/{package}/Cargo.toml")))
}

fn build_executables(command: Command) -> Result<Executables> {
    let executables: Executables = run_for_messages(command)?
        .iter()
        .filter_map(parse_executable)
        .collect();
    if let Some(missing) = REQUIRED_EXECUTABLES
        .iter()
        .find(|name| !executables.contains_key(**name))
    {
        bail!("cargo built everything but told nothing about {missing}");
    }
    fs::write(executables_file(), serde_json::to_vec_pretty(&executables)?)?;
    Ok(executables)
}

/// Runs cargo; returns what it tells in JSON.
fn run_for_messages(mut command: Command) -> Result<Vec<Value>> {
    command.arg("--message-format=json-render-diagnostics");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut messages = Vec::new();
    for line in BufReader::new(output).lines() {
        messages.extend(serde_json::from_str::<Value>(&line?));
    }
    if !child.wait()?.success() {
        bail!("the programs do not compile");
    }
    Ok(messages)
}

/// What the last [`build`] returned.
///
/// # Errors
/// When nothing was built yet.
pub fn last_build() -> Result<Executables> {
    let bytes = fs::read(executables_file()).context("nothing is built yet; run `cargo xtask up` first")?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn executables_file() -> PathBuf {
    instance::local_dir().join("executables.json")
}

/// One of cargo's messages: a program's name and place, if it tells one.
fn parse_executable(message: &Value) -> Option<(String, PathBuf)> {
    // A program's unit tests are an executable that has the program's name.
    if message.pointer("/profile/test") == Some(&Value::Bool(true)) {
        return None;
    }
    let name = message.pointer("/target/name")?.as_str()?;
    let path = message.get("executable")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

/// The command `cargo` in the checkout, with the surroundings that a person's own call would have.
pub fn cargo_command() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(instance::repository_root());
    // What cargo set for this tool is not meant for another build: build scripts that watch these variables would
    // run again each time a person and this tool take turns.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_set_by_cargo) {
            command.env_remove(name);
        }
    }
    command
}

fn is_set_by_cargo(variable: &str) -> bool {
    const NAMES: [&str; 6] = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_BIN_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_RUSTC_CURRENT_DIR",
        "OUT_DIR",
    ];
    NAMES.contains(&variable) || variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_artifact_names_its_executable() {
        let program = json!({
            "reason": "compiler-artifact", "target": {"name": "saga", "kind": ["bin"]}, "executable": "/t/saga",
        });
        assert_eq!(
            parse_executable(&program),
            Some(("saga".to_owned(), "/t/saga".into()))
        );
        let tests =
            json!({"target": {"name": "saga"}, "profile": {"test": true}, "executable": "/t/deps/saga-1"});
        assert_eq!(parse_executable(&tests), None);
        assert_eq!(
            parse_executable(&json!({"reason": "build-finished", "success": true})),
            None
        );
        assert_eq!(
            parse_executable(&json!({"target": {"name": "domain"}, "executable": null})),
            None
        );
    }
}
