//! Instances of the local system and their folders. Everything that belongs to an instance is inside its
//! folder, except PostgreSQL's data when that user cannot enter the checkout.

use std::path::{Path, PathBuf};

/// The root of the checkout in which this tool was built.
pub fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ is a folder of the checkout and so has a parent")
}

/// `.local/`: the development instance, and what all instances share (Python environments, tools, commands).
pub fn local_dir() -> PathBuf {
    repository_root().join(".local")
}

/// A local system with its own ports, keys, data and logs.
#[derive(Debug, Clone)]
pub struct Instance {
    directory: PathBuf,
    kind: InstanceKind,
}

/// The purpose of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceKind {
    /// For `cargo xtask up`: default ports, persistent data.
    Development,
    /// For `cargo xtask test` and `repeat`: other ports, empty data in each run.
    Test,
    /// Like [`Self::Test`], with an Express saga instead of a Standard one.
    Express,
    /// For `cargo xtask chaos`.
    Chaos,
    /// For `cargo xtask bench`.
    Bench,
    /// For `cargo xtask sqlx`: only a database.
    Sqlx,
}

impl InstanceKind {
    /// The kinds of instances that a command creates and removes again; only their logs remain.
    pub const EPHEMERAL: [Self; 5] = [Self::Test, Self::Express, Self::Chaos, Self::Bench, Self::Sqlx];

    /// Whether fault injection proxies the connections between services and wraps the functions.
    pub fn has_fault_injection(self) -> bool {
        matches!(self, Self::Test | Self::Express | Self::Chaos)
    }

    /// Added to the default ports, so that instances can run side by side.
    pub fn port_offset(self) -> u16 {
        match self {
            Self::Development => 0,
            Self::Test => 10_000,
            Self::Express => 12_000,
            Self::Chaos => 16_000,
            Self::Bench => 20_000,
            Self::Sqlx => 22_000,
        }
    }
}

impl Instance {
    pub fn new(kind: InstanceKind) -> Self {
        let directory = match kind {
            InstanceKind::Development => local_dir(),
            InstanceKind::Test => local_dir().join("test"),
            InstanceKind::Express => local_dir().join("express"),
            InstanceKind::Chaos => local_dir().join("chaos"),
            InstanceKind::Bench => local_dir().join("bench"),
            InstanceKind::Sqlx => local_dir().join("sqlx"),
        };
        Self { directory, kind }
    }

    /// The instance that `MATSURI_LOCAL` names (set by an instance's env file), otherwise the development
    /// instance.
    pub fn from_env() -> Self {
        let directory = std::env::var_os("MATSURI_LOCAL").map(PathBuf::from);
        InstanceKind::EPHEMERAL
            .into_iter()
            .map(Self::new)
            .find(|instance| directory.as_deref() == Some(instance.directory()))
            .unwrap_or_else(|| Self::new(InstanceKind::Development))
    }

    pub fn kind(&self) -> InstanceKind {
        self.kind
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A shell script that exports the instance's addresses.
    pub fn env_file(&self) -> PathBuf {
        self.directory.join("env")
    }

    /// Private keys and JWKS files of user tokens and service tokens.
    pub fn keys_dir(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// The folder with one log file per service.
    pub fn logs_dir(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub fn log_file(&self, service: &str) -> PathBuf {
        self.logs_dir().join(format!("{service}.log"))
    }

    /// Files that are valid only while the instance runs: lock, state, temporary files.
    pub fn run_dir(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Temporary files of the services; removed when the instance stops.
    pub fn temp_dir(&self) -> PathBuf {
        self.run_dir().join("tmp")
    }

    /// The ports of the last run.
    pub fn ports_file(&self) -> PathBuf {
        self.directory.join("ports.json")
    }

    /// The database's folder; `postgres::data_dir` uses another one if the database's user cannot enter it.
    pub fn postgres_dir(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    /// The state that the local AWS writes when it stops.
    pub fn ministack_dir(&self) -> PathBuf {
        self.directory.join("ministack")
    }

    /// The state of the payment provider simulator.
    pub fn payments_dir(&self) -> PathBuf {
        self.directory.join("payments")
    }
}
