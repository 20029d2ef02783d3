//! Finds PostgreSQL on the machine, or installs it where we may.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::progress::Step;

/// The folder that holds PostgreSQL's programs.
///
/// # Errors
/// When there is none and we may not install it.
pub fn find_or_install(step: &Step) -> Result<PathBuf> {
    if let Some(binaries) = find_bin_dir() {
        return Ok(binaries);
    }
    if !apt::is_available() {
        bail!(
            "PostgreSQL is missing: install its server (Debian: apt install postgresql, macOS: brew install \
             postgresql@17), or set DATABASE_URL to one that runs"
        );
    }
    step.print_note("PostgreSQL is missing; installing Debian's package, about 50 MB, once");
    // Otherwise Debian makes and starts a server of its own, which nobody asked for and nobody would stop.
    apt::install(&["postgresql-common"])?;
    let config = Path::new("/etc/postgresql-common/createcluster.conf");
    let text = fs::read_to_string(config).unwrap_or_default();
    fs::write(config, format!("{text}\ncreate_main_cluster = false\n"))?;
    apt::install(&["postgresql"])?;
    find_bin_dir().context("Debian's postgresql is installed and yet there is no initdb")
}

/// The folder that holds `initdb`: the one that PostgreSQL names itself, else Debian's newest, else any on the PATH.
fn find_bin_dir() -> Option<PathBuf> {
    let named = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut debian: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("bin"))
        .collect();
    debian.sort_by_key(|path| std::cmp::Reverse(major_version(path)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain(debian)
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// 15 of `/usr/lib/postgresql/15/bin`.
fn major_version(binaries: &Path) -> Option<u32> {
    binaries.parent()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_newest_is_recognised_by_number() {
        assert_eq!(major_version(Path::new("/usr/lib/postgresql/15/bin")), Some(15));
        assert!(major_version(Path::new("/usr/lib/postgresql/9.6/bin")).is_none());
    }
}
