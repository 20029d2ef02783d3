//! Redis from the machine's own programs. It keeps nothing: what it counts is worth a minute, and core-api does without.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::paths::{self, Instance};
use crate::progress::Step;
use crate::supervise::{Health, Program};
use crate::{packages, programs};

/// Redis' server under the name that Debian has for it in `redis-tools`. It goes by the name that it is called by; the
/// package that has it as `redis-server` starts one, which nobody asked for and nobody would stop.
const OF_DEBIAN: &str = "/usr/bin/redis-check-rdb";

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
    if !packages::apt_available() {
        bail!("Redis is missing (Debian: apt install redis-tools, macOS: brew install redis)");
    }
    step.tell("Redis is missing; installing Debian's package, about 2 MB, once");
    packages::apt_install(&["redis-tools"])?;
    find()?.context("Debian's redis-tools is installed and yet there is no Redis")
}

fn find() -> Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path)
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|program| program.exists());
    if named.is_some() || !Path::new(OF_DEBIAN).exists() {
        return Ok(named);
    }
    let link = paths::shared().join("tools/redis-server");
    if !link.exists() {
        fs::create_dir_all(paths::shared().join("tools"))?;
        // One that leads nowhere is in the way.
        let _ = fs::remove_file(&link);
        symlink(OF_DEBIAN, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(Some(link))
}

/// How the server is run.
pub fn program(instance: &Instance, executable: PathBuf, port: u16) -> Program {
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
    Program {
        name: "redis",
        executable,
        arguments: arguments.map(str::to_owned).into(),
        environment: programs::surroundings(instance),
        directory: instance.temporary(),
        user: None,
        port,
        health: Health::Redis,
        stop_signal: Signal::TERM,
        stop_within: Duration::from_secs(5),
    }
}
