//! Location and owner of the data directory. PostgreSQL refuses to run as root, so root needs another user
//! for it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::digest;
use crate::instance::Instance;
use crate::progress::Step;

/// System users that may run PostgreSQL, in order of preference.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"]; // check-words: allow

/// The user and group that run PostgreSQL; `None` means the current user, which is not root.
///
/// # Errors
/// When we are root and the machine has none of the [`UNPRIVILEGED_USERS`].
pub fn unprivileged_user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read the machine's users")?;
    UNPRIVILEGED_USERS
        .iter()
        .find_map(|name| find_user(&users, name))
        .map(Some)
        .with_context(|| {
            format!(
                "PostgreSQL refuses to run as root, and this machine has none of the users {}",
                UNPRIVILEGED_USERS.join(", ")
            )
        })
}

/// Finds the user id and group id of a name in the text of `/etc/passwd`.
fn find_user(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        found.then_some((user, group))
    })
}

/// Creates the data directory with the user as its owner: inside the instance's folder, or in /var/tmp if the
/// user cannot enter the checkout (for example under /root).
///
/// # Errors
/// When it cannot be created.
pub fn prepare(instance: &Instance, user: Option<(u32, u32)>, step: &Step) -> Result<PathBuf> {
    let Some(owner) = user else {
        return create_dir(instance.postgres_dir(), None);
    };
    let inside = create_dir(instance.postgres_dir(), Some(owner))?;
    if can_write(&inside, owner) {
        return Ok(inside);
    }
    fs::remove_dir(&inside)?;
    let outside = create_dir(fallback_dir(instance), Some(owner))?;
    step.print_note(&format!(
        "PostgreSQL's user cannot enter this checkout; the data is stored in {}, and \
         `cargo xtask down --purge` removes it",
        outside.display()
    ));
    Ok(outside)
}

/// Removes the instance's data directory from both possible locations.
///
/// # Errors
/// When it cannot be removed.
pub fn wipe(instance: &Instance) -> Result<()> {
    for home in [instance.postgres_dir(), fallback_dir(instance)] {
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
        }
    }
    Ok(())
}

fn fallback_dir(instance: &Instance) -> PathBuf {
    let name = digest::sha256_hex(instance.directory().as_os_str().as_encoded_bytes());
    Path::new("/var/tmp").join(format!("matsuri-{}", &name[..12]))
}

fn create_dir(folder: PathBuf, owner: Option<(u32, u32)>) -> Result<PathBuf> {
    let context = || format!("cannot create {}", folder.display());
    fs::create_dir_all(&folder).with_context(context)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).with_context(context)?;
    if let Some((user, group)) = owner {
        chown(&folder, Some(user), Some(group)).with_context(context)?;
    }
    Ok(folder)
}

fn can_write(folder: &Path, (user, group): (u32, u32)) -> bool {
    Command::new("/bin/sh")
        .args(["-c", "cd \"$0\" && test -w ."])
        .arg(folder)
        .uid(user)
        .gid(group)
        .current_dir("/")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_user_matches_the_whole_name() {
        let users = "postgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find_user(users, "postgres"), Some((101, 104)));
        assert_eq!(find_user(users, "missing"), None);
    }
}
