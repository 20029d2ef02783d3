//! Runs cargo to build the workspace's executables and tests.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::instance;

/// The executables that every local system needs: three services and four function executables.
const REQUIRED_EXECUTABLES: [&str; 7] = [
    "core-api",
    "stock-service",
    "payment-provider",
    "auth",
    "processors",
    "saga",
    "websocket",
];

/// Name → path of an executable.
pub type Executables = BTreeMap<String, PathBuf>;

/// Builds the executables in the dev profile; cargo shows its own progress.
///
/// # Errors
/// When they do not compile; cargo prints the reason.
pub fn build() -> Result<Executables> {
    let mut command = cargo_command();
    // Without --workspace, cargo would unify features differently for each executable and rebuild most
    // dependencies.
    command.args(["build", "--workspace"]);
    for name in REQUIRED_EXECUTABLES {
        command.args(["--bin", name]);
    }
    build_executables(command)
}

/// Builds the executables and the tests together. Dev-dependencies enable features in shared dependencies, so
/// cargo would rebuild executables that were built without the tests.
///
/// # Errors
/// When they do not compile; cargo prints the reason.
pub fn build_with_tests() -> Result<Executables> {
    let mut command = cargo_command();
    command.args(["test", "--workspace", "--no-run"]);
    build_executables(command)
}

/// Builds the executables in the release profile, as for a deployment to AWS.
///
/// # Errors
/// When they do not compile; cargo prints the reason.
pub fn build_release() -> Result<Executables> {
    let mut command = cargo_command();
    command.args(["build", "--workspace", "--bins", "--release"]);
    build_executables(command)
}

/// Builds one executable in the dev profile and returns its path.
///
/// # Errors
/// When it does not compile; cargo prints the reason.
pub fn build_executable(name: &str) -> Result<PathBuf> {
    let mut command = cargo_command();
    command.args(["build", "--workspace", "--bin", name]);
    let built = run_for_messages(command)?;
    let mut executables = built.iter().filter_map(parse_executable);
    let found = executables.find(|(built, _)| built == name);
    let (_, path) = found.with_context(|| format!("cargo reported no executable {name}"))?;
    Ok(path)
}

/// A test executable.
#[derive(Debug)]
pub struct TestExecutable {
    pub path: PathBuf,
    /// The folder of its package, in which cargo would run it.
    pub package_dir: PathBuf,
    /// The name of the integration test, library or binary.
    pub target: String,
    is_integration_test: bool,
}

impl TestExecutable {
    pub fn is_of(&self, package: &str) -> bool {
        // In this workspace, the folder of a package has the name of the package.
        self.package_dir.ends_with(package)
    }
}

/// All test executables of the workspace, which [`build_with_tests`] has built, sorted by package.
///
/// # Errors
/// When the tests do not compile; cargo prints the reason.
pub fn all_test_executables() -> Result<Vec<TestExecutable>> {
    let mut command = cargo_command();
    command.args(["test", "--workspace", "--no-run", "--quiet"]);
    let mut executables: Vec<TestExecutable> = run_for_messages(command)?
        .iter()
        .filter_map(parse_test_executable)
        .collect();
    executables.sort_by(|a, b| (&a.package_dir, &a.target).cmp(&(&b.package_dir, &b.target)));
    Ok(executables)
}

/// The test executables of a package: the one called `name`, or else all integration tests. The unit tests of
/// a library or binary have its name.
///
/// # Errors
/// When the package has no such test.
pub fn test_executables(package: &str, name: Option<&str>) -> Result<Vec<TestExecutable>> {
    let is_selected = |executable: &TestExecutable| {
        executable.is_of(package)
            && match name {
                Some(name) => executable.target == name,
                None => executable.is_integration_test,
            }
    };
    let mut executables = all_test_executables()?;
    executables.retain(is_selected);
    if executables.is_empty() {
        let name = name.unwrap_or("of its integration tests");
        bail!("the package {package} has no test executable {name}");
    }
    Ok(executables)
}

/// The test executable that a message of cargo reports, if it reports one.
fn parse_test_executable(message: &Value) -> Option<TestExecutable> {
    if message.pointer("/profile/test") != Some(&Value::Bool(true)) {
        return None;
    }
    let manifest = Path::new(message.get("manifest_path")?.as_str()?);
    Some(TestExecutable {
        path: message.get("executable")?.as_str()?.into(),
        package_dir: manifest.parent()?.to_owned(),
        target: message.pointer("/target/name")?.as_str()?.to_owned(),
        is_integration_test: message.pointer("/target/kind/0")? == "test",
    })
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
        bail!("cargo reported no executable {missing}");
    }
    fs::write(executables_file(), serde_json::to_vec_pretty(&executables)?)?;
    Ok(executables)
}

/// Runs cargo and returns its JSON messages.
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
        bail!("the workspace does not compile");
    }
    Ok(messages)
}

/// The executables of the last build.
///
/// # Errors
/// When there was no build yet.
pub fn last_build() -> Result<Executables> {
    let bytes = fs::read(executables_file()).context("there is no build yet; run `cargo xtask up` first")?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn executables_file() -> PathBuf {
    instance::local_dir().join("executables.json")
}

/// The name and the path of the executable that a message of cargo reports, if it reports one.
fn parse_executable(message: &Value) -> Option<(String, PathBuf)> {
    // The executable of a binary's unit tests has the same name as the binary.
    if message.pointer("/profile/test") == Some(&Value::Bool(true)) {
        return None;
    }
    let name = message.pointer("/target/name")?.as_str()?;
    let path = message.get("executable")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

/// The command `cargo` in the checkout, with the environment that it would have in the developer's shell.
pub fn cargo_command() -> Command {
    let executable = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(executable);
    command.current_dir(instance::repository_root());
    // Cargo set these variables for this tool. Build scripts that watch them would run again whenever builds
    // of the developer and builds of this tool alternate.
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
    fn parse_test_executable_reads_tests_only() {
        let mut message = json!({
            "target": {"name": "it", "kind": ["test"]}, "profile": {"test": true},
            "executable": "/t/deps/it-1", "manifest_path": "/w/e2e/Cargo.toml",
        });
        let executable = parse_test_executable(&message).unwrap();
        assert_eq!(executable.path, Path::new("/t/deps/it-1"));
        assert_eq!(executable.package_dir, Path::new("/w/e2e"));
        assert!(executable.is_of("e2e") && executable.is_integration_test);
        message["profile"]["test"] = false.into();
        assert!(parse_test_executable(&message).is_none());
    }

    #[test]
    fn parse_executable_reads_binaries_and_ignores_tests_and_libraries() {
        let binary = json!({
            "reason": "compiler-artifact", "target": {"name": "saga", "kind": ["bin"]},
            "executable": "/t/saga",
        });
        assert_eq!(
            parse_executable(&binary),
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
