//! Describes the host and the software versions of a measurement.

use std::{fs, process::Command};

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

use crate::context::Context;

/// Returns cores, processor, memory and kernel of the host in one line.
///
/// # Errors
/// Fails on systems without `/proc`, which some benchmarks also need.
pub fn describe_hardware() -> anyhow::Result<String> {
    let read = |path: &str| {
        fs::read_to_string(path).with_context(|| format!("cannot read {path}; benchmarks need Linux"))
    };
    let cores = std::thread::available_parallelism()?;
    let processors = read("/proc/cpuinfo")?;
    let model = find_value(&processors, "model name").unwrap_or(std::env::consts::ARCH);
    let memory = read("/proc/meminfo")?;
    let kibibytes: f64 = find_value(&memory, "MemTotal")
        .and_then(|text| text.split(' ').next())
        .and_then(|text| text.parse().ok())
        .context("/proc/meminfo contains no MemTotal")?;
    let kernel = read("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{cores} cores of {model}, {:.0} GiB of memory, Linux {}",
        kibibytes / 1024.0 / 1024.0,
        kernel.trim()
    ))
}

fn find_value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)?;
    Some(value.trim())
}

/// Returns the versions of this repository, the compiler and the database.
///
/// # Errors
/// Fails when the database is unreachable.
pub async fn software_versions(context: &Context) -> anyhow::Result<String> {
    let mut database = PgConnection::connect(&context.addresses.database).await?;
    let (postgres, fsync): (String, String) = sqlx::query_as(
        "SELECT split_part(current_setting('server_version'), ' ', 1), current_setting('fsync')",
    )
    .fetch_one(&mut database)
    .await?;
    let commit = first_output_line("git", &["describe", "--always", "--dirty"]);
    let compiler = first_output_line("rustc", &["--version"]);
    Ok(format!(
        "Matsuri {commit}, {compiler}, PostgreSQL {postgres} (fsync {fsync})"
    ))
}

/// Returns the first line of a command's output, or a note that the version is unknown.
fn first_output_line(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_else(|| format!("{command} of unknown version"))
}
