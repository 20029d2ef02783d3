//! Runs the machine's Redis without persistence: rate limit counters are valid for a minute, and core-api
//! works without Redis.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::instance::{self, Instance};
use crate::progress::Step;
use crate::supervisor::{HealthCheck, ServiceSpec};
use crate::{apt, services};

/// The Redis executable in Debian's package `redis-tools`. It acts as the server when it is started through a
/// link named `redis-server`. We do not install the package `redis-server`, because that package starts a
/// system service.
const DEBIAN_SERVER_PATH: &str = "/usr/bin/redis-check-rdb";

pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Returns the path of the Redis server.
///
/// # Errors
/// When Redis is missing and this process cannot install it.
pub fn find_or_install(step: &Step) -> Result<PathBuf> {
    if let Some(found) = find()? {
        return Ok(found);
    }
    if !apt::is_available() {
        bail!("Redis is missing (Debian: apt install redis-tools, macOS: brew install redis)");
    }
    step.print_note("Redis is missing; installing Debian's package redis-tools, about 2 MB, only once");
    apt::install(&["redis-tools"])?;
    find()?.with_context(|| format!("Debian's redis-tools is installed, but {DEBIAN_SERVER_PATH} is missing"))
}

fn find() -> Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|path| path.exists());
    if on_path.is_some() || !Path::new(DEBIAN_SERVER_PATH).exists() {
        return Ok(on_path);
    }
    let link = instance::local_dir().join("tools/redis-server");
    if !link.exists() {
        fs::create_dir_all(instance::local_dir().join("tools"))?;
        // A dangling link does not exist for `exists`, but it would make `symlink` fail.
        let _ = fs::remove_file(&link);
        symlink(DEBIAN_SERVER_PATH, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(Some(link))
}

pub fn service_spec(instance: &Instance, executable: PathBuf, port: u16) -> ServiceSpec {
    let arguments = [
        "--bind",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--save",
        "",
        "--appendonly",
        "no",
        "--maxmemory",
        "64mb",
        "--maxmemory-policy",
        "allkeys-lru",
    ];
    ServiceSpec {
        name: "redis",
        executable,
        arguments: arguments.map(str::to_owned).into(),
        environment: services::base_env(instance),
        directory: instance.temp_dir(),
        user: None,
        port,
        health_check: HealthCheck::Redis,
        stop_signal: Signal::TERM,
        stop_timeout: Duration::from_secs(5),
    }
}
