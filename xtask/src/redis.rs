//! Redis from the machine's own programs. It keeps nothing: what it counts is worth a minute, and core-api does without.

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

/// Redis' server under the name that Debian has for it in `redis-tools`. It goes by the name that it is called by; the
/// package that has it as `redis-server` starts one, which nobody asked for and nobody would stop.
const DEBIAN_SERVER_PATH: &str = "/usr/bin/redis-check-rdb";

/// The address of the Redis that listens on the given port.
pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// The server's program.
///
/// # Errors
/// When there is none and we may not install it.
pub fn find_or_install(step: &Step) -> Result<PathBuf> {
    if let Some(found) = find()? {
        return Ok(found);
    }
    if !apt::is_available() {
        bail!("Redis is missing (Debian: apt install redis-tools, macOS: brew install redis)");
    }
    step.print_note("Redis is missing; installing Debian's package, about 2 MB, once");
    apt::install(&["redis-tools"])?;
    find()?.context("Debian's redis-tools is installed and yet there is no Redis")
}

fn find() -> Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path)
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|program| program.exists());
    if named.is_some() || !Path::new(DEBIAN_SERVER_PATH).exists() {
        return Ok(named);
    }
    let link = instance::local_dir().join("tools/redis-server");
    if !link.exists() {
        fs::create_dir_all(instance::local_dir().join("tools"))?;
        // One that leads nowhere is in the way.
        let _ = fs::remove_file(&link);
        symlink(DEBIAN_SERVER_PATH, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(Some(link))
}

/// How the server is run.
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
