//! Where the data lies and whose it is: PostgreSQL refuses to run as root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::digest;
use crate::instance::Instance;
use crate::progress::Step;

/// Whom to run as: PostgreSQL refuses to run as root, and anybody else runs as himself.
///
/// # Errors
/// When there is nobody to run as.
pub fn unprivileged_user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read the machine's users")?;
    find_user(&users, "postgres")
        .or_else(|| find_user(&users, "nobody"))
        .map(Some)
        .context("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}

/// User and group number of a name in the form of `/etc/passwd`.
fn find_user(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        found.then_some((user, group))
    })
}

/// The folder for data, made and owned by the user. It lies in the instance, or, when the user may not enter the
/// checkout (under /root, say), in /var/tmp.
///
/// # Errors
/// When it cannot be made.
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
        "PostgreSQL's user may not enter this checkout; the data lies in {} (`cargo xtask down --purge` removes it)",
        outside.display()
    ));
    Ok(outside)
}

/// Removes the instance's data, wherever it lies.
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
    let context = || format!("cannot make {}", folder.display());
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
    fn a_user_is_found_by_his_whole_name() {
        let users = "postgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find_user(users, "postgres"), Some((101, 104)));
        assert_eq!(find_user(users, "nobody"), None);
    }
}
