//! Finds PostgreSQL on the machine, or installs Debian's package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::progress::Step;

/// Returns the folder with PostgreSQL's executables.
///
/// # Errors
/// When PostgreSQL is missing and this process cannot install it.
pub fn find_or_install(step: &Step) -> Result<PathBuf> {
    if let Some(binaries) = find_bin_dir() {
        return Ok(binaries);
    }
    if !apt::is_available() {
        bail!(
            "PostgreSQL is missing: install its server (Debian: apt install postgresql, macOS: brew install \
             postgresql@17), or set DATABASE_URL to a running database"
        );
    }
    step.print_note("PostgreSQL is missing; installing Debian's package postgresql, about 50 MB, only once");
    // This setting keeps Debian's package from creating and starting a cluster as a system service.
    apt::install(&["postgresql-common"])?;
    let config = Path::new("/etc/postgresql-common/createcluster.conf");
    let text = fs::read_to_string(config).unwrap_or_default();
    fs::write(config, format!("{text}\ncreate_main_cluster = false\n"))?;
    apt::install(&["postgresql"])?;
    find_bin_dir().context("Debian's postgresql is installed, but initdb is missing")
}

/// Finds the folder with `initdb`: the one that `pg_config` names, else Debian's newest version, else one on
/// the PATH.
fn find_bin_dir() -> Option<PathBuf> {
    let configured = Command::new("pg_config")
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
    configured
        .into_iter()
        .chain(debian)
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// Parses 15 from `/usr/lib/postgresql/15/bin`.
fn major_version(binaries: &Path) -> Option<u32> {
    binaries.parent()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_parses_the_number_in_debians_path() {
        assert_eq!(major_version(Path::new("/usr/lib/postgresql/15/bin")), Some(15));
        assert!(major_version(Path::new("/usr/lib/postgresql/9.6/bin")).is_none());
    }
}
