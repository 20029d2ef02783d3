//! The Python environments: one holds the local AWS and the `awslocal` command, one what `test` alone needs.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::digest;
use crate::logs;
use crate::packages;
use crate::paths;
use crate::progress::Step;

/// A virtual environment with pinned packages.
#[derive(Debug)]
pub struct Environment {
    /// Its folder in `.local`.
    folder: &'static str,
    /// The file in xtask/ that names its packages, and what that holds.
    requirements: (&'static str, &'static str),
    /// What the person is told before it is downloaded.
    announcement: &'static str,
}

/// What every local system needs.
pub const SYSTEM: Environment = Environment {
    folder: "venv",
    requirements: ("requirements.txt", include_str!("../requirements.txt")),
    announcement: "downloading the local AWS and the aws command from PyPI: about 50 MB, once, into .local/venv",
};

/// What tests the API by its description. An environment of its own: its packages and the local AWS's need not agree.
pub const API_TESTS: Environment = Environment {
    folder: "api-tests-venv",
    requirements: (
        "api-tests-requirements.txt",
        include_str!("../api-tests-requirements.txt"),
    ),
    announcement: "downloading schemathesis from PyPI: about 20 MB, once, into .local/api-tests-venv",
};

/// What MiniStack needs at least.
const MINIMUM: (u8, u8) = (3, 10);

/// Names under which a new enough Python may be found, the newest last.
const CANDIDATES: [&str; 6] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
];

/// Commands of the environment that developers use; no other one should shadow what they have.
const COMMANDS: [&str; 2] = ["aws", "awslocal"];

/// The folder that goes on a developer's PATH.
pub fn commands() -> PathBuf {
    paths::shared().join("bin")
}

impl Environment {
    fn path(&self) -> PathBuf {
        paths::shared().join(self.folder)
    }

    /// One of its commands.
    pub fn command(&self, name: &str) -> PathBuf {
        self.path().join("bin").join(name)
    }

    /// Installs the pinned packages where they are not yet; at once where they are.
    ///
    /// # Errors
    /// When there is no suitable Python, or the packages cannot be installed.
    pub fn prepare(&self, step: &Step) -> Result<()> {
        fs::create_dir_all(paths::shared())?;
        // Two commands of one checkout that start together must not install into the same folder.
        let lock = File::create(self.path().with_extension("lock"))?;
        lock.lock().context("cannot lock the Python environment")?;

        let stamp = self.path().join("installed");
        let wanted = self.stamp_text();
        // The interpreter is a link to the machine's own, which an upgrade may have taken away.
        let is_whole = self.command("python").exists();
        if is_whole && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            step.outcome("up to date");
            return Ok(());
        }
        step.tell(self.announcement);
        step.doing("python3 -m venv");
        self.create(step)?;
        step.doing("pip install");
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.requirements.0);
        run(Command::new(self.command("pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(requirements))?;
        link_commands()?;
        fs::write(stamp, wanted)?;
        step.outcome("installed");
        Ok(())
    }

    /// What the environment holds when it is complete: the packages, and the place, because a virtual environment
    /// does not survive being moved.
    fn stamp_text(&self) -> String {
        let packages = digest::of(self.requirements.1.as_bytes());
        format!("{packages} {}\n", self.path().display())
    }

    /// Makes an empty environment. Debian may lack Python, or ship it without the module's better half.
    fn create(&self, step: &Step) -> Result<()> {
        let Err(error) = self.try_create() else {
            return Ok(());
        };
        if !packages::apt_available() {
            return Err(
                error.context("cannot make a Python environment (on Debian: apt install python3-venv)")
            );
        }
        step.tell("Python with its venv module is missing; installing Debian's python3-venv, once");
        packages::apt_install(&["python3-venv"])?;
        self.try_create()
    }

    fn try_create(&self) -> Result<()> {
        let mut command = Command::new(find()?);
        run(command.args(["-m", "venv", "--clear"]).arg(self.path()))
    }
}

fn find() -> Result<&'static str> {
    let (major, minor) = MINIMUM;
    let script = format!("import sys; sys.exit(sys.version_info < ({major}, {minor}))");
    let suitable = |name: &&&str| {
        let mut command = Command::new(name);
        command
            .args(["-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = CANDIDATES.iter().find(suitable).copied();
    found.with_context(|| format!("the local AWS needs Python {major}.{minor} or later"))
}

fn link_commands() -> Result<()> {
    fs::create_dir_all(commands())?;
    for name in COMMANDS {
        let link = commands().join(name);
        let _ = fs::remove_file(&link);
        symlink(SYSTEM.command(name), &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(())
}

/// Runs a command whose output only matters when it fails.
fn run(command: &mut Command) -> Result<()> {
    let path = paths::shared().join("venv.log");
    let log = File::create(&path)?;
    let program = command.get_program().display().to_string();
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!(
            "{program} failed; {} ends with:\n{}",
            path.display(),
            logs::tail(&path, 20)?
        );
    }
    Ok(())
}
