//! Where everything of a local system lies: one folder per instance, and nothing outside of it.

use std::path::{Path, PathBuf};

/// The folder of the repository that this tool was built in.
pub fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ is a folder of the checkout, so it has a parent")
}

/// What all instances of a checkout share: the Python environment and the commands on the PATH.
pub fn local_dir() -> PathBuf {
    repository_root().join(".local")
}

/// One local system with its own ports, keys, data and logs.
#[derive(Debug, Clone)]
pub struct Instance {
    directory: PathBuf,
    kind: InstanceKind,
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceKind {
    /// What `cargo xtask up` runs: default ports, data that survives.
    Development,
    /// What `cargo xtask test` runs beside it: ports of its own, fresh every time.
    Test,
    /// The same with Express executions instead of Standard ones.
    Express,
    /// What `cargo xtask chaos` disturbs.
    Chaos,
    /// What `cargo xtask bench` measures.
    Bench,
    /// The database of `cargo xtask sqlx`, gone when the command ends.
    Sqlx,
}

impl InstanceKind {
    /// Every kind of instance that a command makes for itself and leaves nothing of.
    pub const EPHEMERAL: [Self; 5] = [Self::Test, Self::Express, Self::Chaos, Self::Bench, Self::Sqlx];

    /// Whether `faults` stands between the instance's programs, and around its functions.
    pub fn has_fault_injection(self) -> bool {
        matches!(self, Self::Test | Self::Express | Self::Chaos)
    }

    /// How far the instance keeps away from the ports that a newcomer expects.
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
    /// The instance of this checkout that serves the given purpose.
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

    /// The instance whose env file the caller has read (`MATSURI_LOCAL`), otherwise the one that `cargo xtask up` runs.
    pub fn from_env() -> Self {
        let named = std::env::var_os("MATSURI_LOCAL").map(PathBuf::from);
        InstanceKind::EPHEMERAL
            .into_iter()
            .map(Self::new)
            .find(|instance| named.as_deref() == Some(instance.directory()))
            .unwrap_or_else(|| Self::new(InstanceKind::Development))
    }

    /// What the instance is for.
    pub fn kind(&self) -> InstanceKind {
        self.kind
    }

    /// The instance's own folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Shell assignments for those who want to talk to the instance.
    pub fn env_file(&self) -> PathBuf {
        self.directory.join("env")
    }

    /// Private keys and key sets of the two trust domains.
    pub fn keys_dir(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// One log per program.
    pub fn logs_dir(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The log of one program.
    pub fn log_file(&self, program: &str) -> PathBuf {
        self.logs_dir().join(format!("{program}.log"))
    }

    /// What is true only while the instance runs: lock, state, temporary files.
    pub fn run_dir(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Temporary files of the programs; emptied when the instance stops.
    pub fn temp_dir(&self) -> PathBuf {
        self.run_dir().join("tmp")
    }

    /// The ports that were used last.
    pub fn ports_file(&self) -> PathBuf {
        self.directory.join("ports.json")
    }

    /// The database's folder, where the database's user can reach it.
    pub fn postgres_dir(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    /// What the local AWS writes when it stops.
    pub fn ministack_dir(&self) -> PathBuf {
        self.directory.join("ministack")
    }

    /// The payment provider's ledger.
    pub fn payments_dir(&self) -> PathBuf {
        self.directory.join("payments")
    }
}
