//! Installs the Python virtual environments: one with the local AWS and the `awslocal` command, one with
//! schemathesis.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::digest;
use crate::instance;
use crate::logs;
use crate::progress::Step;

/// A virtual environment with pinned packages.
#[derive(Debug)]
pub struct VirtualEnv {
    /// Folder in `.local`.
    folder: &'static str,
    /// The requirements file in xtask/: its name and its content.
    requirements: (&'static str, &'static str),
    /// Printed before the download.
    download_notice: &'static str,
}

/// The packages that every local system needs.
pub const LOCAL_SYSTEM: VirtualEnv = VirtualEnv {
    folder: "venv",
    requirements: ("requirements.txt", include_str!("../requirements.txt")),
    download_notice: "downloading the local AWS and the aws command from PyPI to .local/venv: 50 MB, once",
};

/// schemathesis, in a separate environment so that its dependencies cannot conflict with those of the local
/// AWS.
pub const API_TESTS: VirtualEnv = VirtualEnv {
    folder: "api-tests-venv",
    requirements: (
        "api-tests-requirements.txt",
        include_str!("../api-tests-requirements.txt"),
    ),
    download_notice: "downloading schemathesis from PyPI to .local/api-tests-venv: 20 MB, once",
};

/// Installs the packages, several times as fast as pip.
const INSTALLER: &str = "uv==0.13.9";

/// The minimum Python version of MiniStack.
const MIN_VERSION: (u8, u8) = (3, 10);

/// Names of Python interpreters, in the order in which they are tried.
const INTERPRETERS: [&str; 6] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
];

/// The commands that are linked into a folder on the developer's PATH. The other commands of the environment
/// are not, because they could shadow the developer's own.
const EXPOSED_COMMANDS: [&str; 2] = ["aws", "awslocal"];

/// The folder of [`EXPOSED_COMMANDS`], for the developer's PATH.
pub fn bin_dir() -> PathBuf {
    instance::local_dir().join("bin")
}

/// The value of PATH with [`bin_dir`] in front.
pub fn path_with_bin_dir() -> String {
    format!(
        "{}:{}",
        bin_dir().display(),
        std::env::var("PATH").unwrap_or_default()
    )
}

impl VirtualEnv {
    fn path(&self) -> PathBuf {
        instance::local_dir().join(self.folder)
    }

    /// The path of a command in the environment.
    pub fn command(&self, name: &str) -> PathBuf {
        self.path().join("bin").join(name)
    }

    /// Installs the pinned packages unless they are installed already.
    ///
    /// # Errors
    /// When there is no suitable Python, or the packages cannot be installed.
    pub fn install(&self, step: &Step) -> Result<()> {
        fs::create_dir_all(instance::local_dir())?;
        // Serialises installations by concurrent commands of the same checkout.
        let lock = File::create(self.path().with_extension("lock"))?;
        lock.lock().context("cannot lock the Python environment")?;

        let stamp = self.path().join("installed");
        let expected = self.stamp_text();
        // The interpreter is a link to the machine's Python, which an upgrade may have removed.
        let has_interpreter = self.command("python").exists();
        if has_interpreter && fs::read_to_string(&stamp).is_ok_and(|installed| installed == expected) {
            step.set_outcome("up to date");
            return Ok(());
        }
        step.print_note(self.download_notice);
        step.set_message("python3 -m venv");
        self.create_or_install_venv(step)?;
        self.install_packages(step)?;
        link_commands()?;
        fs::write(stamp, expected)?;
        step.set_outcome("installed");
        Ok(())
    }

    fn install_packages(&self, step: &Step) -> Result<()> {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.requirements.0);
        let pip = || {
            let mut command = Command::new(self.command("pip"));
            command.args(["install", "--quiet", "--disable-pip-version-check"]);
            command
        };
        step.set_message("pip install uv");
        run_logged(pip().arg(INSTALLER))?;
        step.set_message("uv pip install");
        let mut uv = Command::new(self.command("uv"));
        uv.args(["pip", "install", "--quiet", "--compile-bytecode", "--python"])
            .arg(self.command("python"))
            .arg("--requirement")
            .arg(&requirements)
            .envs(std::env::var_os("PIP_INDEX_URL").map(|url| ("UV_DEFAULT_INDEX", url)));
        if run_logged(&mut uv).is_ok() {
            return Ok(());
        }
        // uv does not read pip's configuration files, which may name a mirror of PyPI.
        step.set_message("pip install");
        run_logged(pip().arg("--requirement").arg(&requirements))
    }

    /// The content of the file `installed` of a complete environment: a digest of the packages, and the path,
    /// because a virtual environment cannot be moved.
    fn stamp_text(&self) -> String {
        let packages = digest::sha256_hex(self.requirements.1.as_bytes());
        format!("{packages} {}\n", self.path().display())
    }

    /// Creates an empty environment. On Debian, Python may be missing, or its venv module may lack ensurepip.
    fn create_or_install_venv(&self, step: &Step) -> Result<()> {
        let Err(error) = self.try_create() else {
            return Ok(());
        };
        if !apt::is_available() {
            return Err(
                error.context("cannot create a Python environment (on Debian: apt install python3-venv)")
            );
        }
        step.print_note(
            "Python with its venv module is missing; installing Debian's package python3-venv, only once",
        );
        apt::install(&["python3-venv"])?;
        self.try_create()
    }

    fn try_create(&self) -> Result<()> {
        let mut command = Command::new(find_interpreter()?);
        run_logged(command.args(["-m", "venv", "--clear"]).arg(self.path()))
    }
}

fn find_interpreter() -> Result<&'static str> {
    let (major, minor) = MIN_VERSION;
    let script = format!("import sys; sys.exit(sys.version_info < ({major}, {minor}))");
    let suitable = |name: &&&str| {
        let mut command = Command::new(name);
        command
            .args(["-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = INTERPRETERS.iter().find(suitable).copied();
    found.with_context(|| format!("the local AWS needs Python {major}.{minor} or later"))
}

fn link_commands() -> Result<()> {
    fs::create_dir_all(bin_dir())?;
    for name in EXPOSED_COMMANDS {
        let link = bin_dir().join(name);
        let _ = fs::remove_file(&link);
        symlink(LOCAL_SYSTEM.command(name), &link)
            .with_context(|| format!("cannot create {}", link.display()))?;
    }
    Ok(())
}

/// Runs a command with its output in a log file; the error holds the end of the log.
fn run_logged(command: &mut Command) -> Result<()> {
    let path = instance::local_dir().join("venv.log");
    let log = File::create(&path)?;
    let executable = command.get_program().display().to_string();
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("cannot run {executable}"))?;
    if !status.success() {
        bail!(
            "{executable} failed; {} ends with:\n{}",
            path.display(),
            logs::tail(&path, 20)?
        );
    }
    Ok(())
}
