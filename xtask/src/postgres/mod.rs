//! Runs the machine's PostgreSQL with a data directory per instance.

mod certificate;
mod data_dir;
mod install;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::instance::{Instance, InstanceKind};
use crate::progress::Step;
use crate::supervisor::{HealthCheck, ServiceSpec};

pub use certificate::{ca_file, create_missing as create_missing_certificate};
pub use data_dir::wipe;

/// Role, password and database name. A fixed password is acceptable: the server listens on 127.0.0.1 only and
/// holds sample data.
const NAME: &str = "matsuri";

/// The rules for clients: encrypted connections only, as in RDS.
const CLIENT_RULES: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n";

/// An installed PostgreSQL with the data directory of one instance.
#[derive(Debug)]
pub struct Postgres {
    bin_dir: PathBuf,
    home_dir: PathBuf,
    ca_file: PathBuf,
    user: Option<(u32, u32)>,
    skip_fsync: bool,
}

/// The URL for the database's owner. Clients verify the server's certificate with the CA in `ca_file`.
pub fn url(ca_file: &Path, port: u16) -> String {
    let ca_file = percent_encode(ca_file);
    format!("postgres://{NAME}:{NAME}@127.0.0.1:{port}/{NAME}?sslmode=verify-full&sslrootcert={ca_file}")
}

/// Encodes a path for the query of a URL.
fn percent_encode(path: &Path) -> String {
    let mut encoded = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

impl Postgres {
    /// Finds or installs PostgreSQL, and creates the certificate and the data directory if they are missing.
    ///
    /// # Errors
    /// When PostgreSQL is missing and this process cannot install it, when `initdb` fails, or when another
    /// major version wrote the data.
    pub fn prepare(instance: &Instance, step: &Step) -> Result<Self> {
        let binaries = install::find_or_install(step)?;
        let user = data_dir::unprivileged_user()?;
        let home = data_dir::prepare(instance, user, step)?;
        // Tests need the speed, and a power failure costs them nothing, because their data is temporary. A
        // benchmark without fsync would measure the wrong thing.
        let quick = !matches!(instance.kind(), InstanceKind::Development | InstanceKind::Bench);
        let postgres = Self {
            bin_dir: binaries,
            home_dir: home,
            ca_file: ca_file(instance),
            user,
            skip_fsync: quick,
        };
        create_missing_certificate(instance)?;
        postgres.write_file("server.crt", &fs::read(certificate::certificate_file(instance))?)?;
        postgres.write_file("server.key", &fs::read(certificate::key_file(instance))?)?;
        postgres.write_file("pg_hba.conf", CLIENT_RULES.as_bytes())?;
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

    /// PostgreSQL's load generator. May be missing: some systems ship it in a separate package.
    pub fn pgbench_path(&self) -> PathBuf {
        self.binary("pgbench")
    }

    pub fn service_spec(&self, port: u16) -> ServiceSpec {
        let mut arguments = vec![
            "-D".to_owned(),
            self.data_dir().display().to_string(),
            "-p".to_owned(),
            port.to_string(),
        ];
        let mut set = |setting: &str| arguments.extend(["-c".to_owned(), setting.to_owned()]);
        set("listen_addresses=127.0.0.1");
        // No socket file: the path of a socket is limited to about 100 bytes, and a checkout's path may be
        // longer.
        set("unix_socket_directories=");
        set("max_connections=300");
        set("ssl=on");
        set(&format!(
            "ssl_cert_file={}",
            self.home_dir.join("server.crt").display()
        ));
        set(&format!(
            "ssl_key_file={}",
            self.home_dir.join("server.key").display()
        ));
        set(&format!(
            "hba_file={}",
            self.home_dir.join("pg_hba.conf").display()
        ));
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
            // A fast shutdown: the server disconnects clients and writes all data.
            stop_signal: Signal::INT,
            stop_timeout: Duration::from_secs(20),
        }
    }

    /// Creates the database if it does not exist. The server must be running.
    ///
    /// # Errors
    /// When `createdb` fails.
    pub fn create_database(&self, port: u16) -> Result<()> {
        let output = Command::new(self.binary("createdb"))
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", NAME, NAME])
            .env("PGPASSWORD", NAME)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", &self.ca_file)
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

    /// Runs SQL files against the database, each in one transaction.
    ///
    /// # Errors
    /// When a statement fails; later files are not run.
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
                .arg(url(&self.ca_file, port))
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

    /// Writes a file that only the user who runs PostgreSQL can read.
    fn write_file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.home_dir.join(name);
        let context = || format!("cannot write {}", path.display());
        // A file of the last run may belong to PostgreSQL's user.
        let _ = fs::remove_file(&path);
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(context)?;
        file.write_all(content).with_context(context)?;
        if let Some((user, group)) = self.user {
            chown(&path, Some(user), Some(group)).with_context(context)?;
        }
        Ok(path)
    }

    fn init_data_dir(&self) -> Result<()> {
        let password = self.write_file("password", NAME.as_bytes())?;
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
        let data_version = fs::read_to_string(self.data_dir().join("PG_VERSION"))?;
        let output = Command::new(self.binary("postgres")).arg("--version").output()?;
        let binary_version = String::from_utf8_lossy(&output.stdout);
        // "postgres (PostgreSQL) 15.18 (Debian …)"
        let major = binary_version
            .split_whitespace()
            .nth(2)
            .and_then(|version| version.split('.').next());
        if major != Some(data_version.trim()) {
            bail!(
                "PostgreSQL {} wrote the data in {}, but {} is installed; `cargo xtask up --fresh` deletes \
                 the data",
                data_version.trim(),
                self.data_dir().display(),
                binary_version.trim()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_encodes_the_path_of_the_ca() {
        let url = url(Path::new("/home/a b/100%/ca.pem"), 5432);
        assert!(url.ends_with("&sslrootcert=/home/a%20b/100%25/ca.pem"), "{url}");
    }
}
