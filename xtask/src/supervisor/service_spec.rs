//! One program: how it is started, known to be well, and stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::http;

/// A program of the system and everything that is needed to run it.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// The name that people use for it; its log is called after it.
    pub name: &'static str,
    /// What is executed.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The whole of its environment: nothing of ours is inherited, because what reaches the local AWS would reach
    /// every function as well.
    pub environment: Vec<(String, String)>,
    /// Where it runs; its user must be allowed in.
    pub directory: PathBuf,
    /// The user and group that it runs as, where it must not run as us.
    pub user: Option<(u32, u32)>,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// What tells that it serves.
    pub health_check: HealthCheck,
    /// What asks it to stop in good order.
    pub stop_signal: Signal,
    /// How long it may take to stop before it is killed.
    pub stop_timeout: Duration,
}

/// What tells that a program serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheck {
    /// A path that answers with 2xx.
    Http(String),
    /// PostgreSQL's own client says so (the path of `pg_isready`).
    Postgres(PathBuf),
    /// It answers to Redis' PING.
    Redis,
}

impl HealthCheck {
    /// Whether the program on the port of 127.0.0.1 serves at this moment. Takes three seconds at most.
    pub fn check(&self, port: u16) -> bool {
        match self {
            Self::Http(path) => http::is_ok(&format!("http://127.0.0.1:{port}{path}")),
            Self::Postgres(pg_isready) => Command::new(pg_isready)
                .args([
                    "-q",
                    "-t",
                    "1",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port.to_string(),
                    "-d",
                    "postgres",
                ])
                .status()
                .is_ok_and(|status| status.success()),
            Self::Redis => redis_ping(port).is_ok_and(|answered| answered),
        }
    }
}

fn redis_ping(port: u16) -> io::Result<bool> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    connection.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}

impl ServiceSpec {
    /// Starts the program in a process group of its own, so that a Ctrl-C in the terminal reaches only us and
    /// whatever the program leaves behind can be killed with it.
    ///
    /// # Errors
    /// When the log cannot be opened or the executable cannot be run.
    pub fn spawn(&self, log: &Path) -> Result<Child> {
        let log = open_log(log)?;
        let mut command = Command::new(&self.executable);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
            .spawn()
            .with_context(|| format!("cannot run {}", self.executable.display()))
    }

    /// Whether the program serves at this moment. Takes three seconds at most.
    pub fn is_healthy(&self) -> bool {
        self.health_check.check(self.port)
    }

    /// What changes when the executable is built anew.
    pub fn executable_modified_at(&self) -> Option<SystemTime> {
        fs::metadata(&self.executable)
            .and_then(|metadata| metadata.modified())
            .ok()
    }
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Sends a signal to the process group that the process leads. That it is gone already is no error.
pub fn signal_process_group(leader: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}
