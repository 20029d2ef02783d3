//! PostgreSQL from the machine's own binaries, with a data folder of ours.

mod data_dir;
mod install;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::instance::{Instance, InstanceKind};
use crate::progress::Step;
use crate::supervisor::{HealthCheck, ServiceSpec};

pub use data_dir::wipe;

/// Role, password and database alike: it listens on this machine only and holds nothing but samples.
const NAME: &str = "matsuri";

/// An installed PostgreSQL and the place where it keeps our data.
#[derive(Debug)]
pub struct Postgres {
    bin_dir: PathBuf,
    home_dir: PathBuf,
    user: Option<(u32, u32)>,
    skip_fsync: bool,
}

/// The address of the database that listens on the given port.
pub fn url(port: u16) -> String {
    format!("postgres://{NAME}:{NAME}@127.0.0.1:{port}/{NAME}")
}

impl Postgres {
    /// Finds the binaries (or installs them where we may) and makes the data folder where there is none.
    ///
    /// # Errors
    /// When there is no PostgreSQL and we may not install it, when `initdb` fails, or when the data was written by
    /// another major version.
    pub fn prepare(instance: &Instance, step: &Step) -> Result<Self> {
        let binaries = install::find_or_install(step)?;
        let user = data_dir::unprivileged_user()?;
        let home = data_dir::prepare(instance, user, step)?;
        // Tests need the speed and lose nothing with the power: their data is fresh every time. A figure measured
        // without waiting for the disk would be none.
        let quick = !matches!(instance.kind(), InstanceKind::Development | InstanceKind::Bench);
        let postgres = Self {
            bin_dir: binaries,
            home_dir: home,
            user,
            skip_fsync: quick,
        };
        if postgres.data_dir().join("PG_VERSION").exists() {
            postgres.check_version()?;
        } else {
            step.set_message("initdb");
            postgres.init_data_dir()?;
        }
        Ok(postgres)
    }

    fn data_dir(&self) -> PathBuf {
        self.home_dir.join("data")
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// PostgreSQL's own load generator, which some systems have in a package of its own.
    pub fn pgbench_path(&self) -> PathBuf {
        self.binary("pgbench")
    }

    /// How the server is run.
    pub fn service_spec(&self, port: u16) -> ServiceSpec {
        let mut arguments = vec![
            "-D".to_owned(),
            self.data_dir().display().to_string(),
            "-p".to_owned(),
            port.to_string(),
        ];
        let mut set = |setting: &str| arguments.extend(["-c".to_owned(), setting.to_owned()]);
        set("listen_addresses=127.0.0.1");
        // No socket file: a checkout may lie deeper than the hundred characters that its path may have.
        set("unix_socket_directories=");
        set("max_connections=300");
        if self.skip_fsync {
            set("fsync=off");
            set("full_page_writes=off");
        }
        ServiceSpec {
            name: "postgres",
            executable: self.binary("postgres"),
            arguments,
            environment: vec![("LC_ALL".to_owned(), "C".to_owned())],
            directory: self.home_dir.clone(),
            user: self.user,
            port,
            health_check: HealthCheck::Postgres(self.binary("pg_isready")),
            // A fast shutdown: clients are cut off, everything is written.
            stop_signal: Signal::INT,
            stop_timeout: Duration::from_secs(20),
        }
    }

    /// Makes the database where there is none. The server runs.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn create_database(&self, port: u16) -> Result<()> {
        let output = Command::new(self.binary("createdb"))
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", NAME, NAME])
            .env("PGPASSWORD", NAME)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .context("cannot run createdb")?;
        let message = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || message.contains("already exists") {
            return Ok(());
        }
        bail!("createdb failed: {}", message.trim())
    }

    /// Runs files of SQL against the database, each in one transaction.
    ///
    /// # Errors
    /// At the first statement that fails.
    pub fn run_sql_files(&self, port: u16, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let output = Command::new(self.binary("psql"))
                .args([
                    "--no-psqlrc",
                    "--quiet",
                    "--single-transaction",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-f",
                ])
                .arg(file)
                .arg(url(port))
                .stdin(Stdio::null())
                .output()
                .context("cannot run psql")?;
            if !output.status.success() {
                bail!(
                    "{} failed: {}",
                    file.display(),
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
        }
        Ok(())
    }

    fn init_data_dir(&self) -> Result<()> {
        let password = self.home_dir.join("password");
        fs::write(&password, NAME)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        if let Some((user, group)) = self.user {
            chown(&password, Some(user), Some(group))?;
        }
        let locale = if cfg!(target_os = "macos") {
            "en_US.UTF-8"
        } else {
            "C.UTF-8"
        };
        let mut command = Command::new(self.binary("initdb"));
        command
            .args(["--encoding=UTF8", "--auth=scram-sha-256", "--no-instructions"])
            .arg(format!("--locale={locale}"))
            .arg(format!("--username={NAME}"))
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(self.data_dir())
            .current_dir(&self.home_dir)
            .stdin(Stdio::null());
        if self.skip_fsync {
            command.arg("--no-sync");
        }
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let output = command.output().context("cannot run initdb")?;
        fs::remove_file(&password)?;
        if !output.status.success() {
            let _ = fs::remove_dir_all(self.data_dir());
            bail!(
                "initdb failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    fn check_version(&self) -> Result<()> {
        let of_data = fs::read_to_string(self.data_dir().join("PG_VERSION"))?;
        let output = Command::new(self.binary("postgres")).arg("--version").output()?;
        let of_binary = String::from_utf8_lossy(&output.stdout);
        // "postgres (PostgreSQL) 15.18 (Debian …)"
        let major = of_binary
            .split_whitespace()
            .nth(2)
            .and_then(|version| version.split('.').next());
        if major != Some(of_data.trim()) {
            bail!(
                "the data in {} was written by PostgreSQL {}, and this is {}; `cargo xtask up --fresh` starts anew",
                self.data_dir().display(),
                of_data.trim(),
                of_binary.trim()
            );
        }
        Ok(())
    }
}
