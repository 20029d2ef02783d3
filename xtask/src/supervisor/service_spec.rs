//! Describes how to start, check and stop a service.

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

/// Everything that is needed to run a service.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// Also the name of its log file.
    pub name: &'static str,
    pub executable: PathBuf,
    pub arguments: Vec<String>,
    /// The whole environment. The service inherits no other variable, because the local AWS would pass them
    /// on to every function.
    pub environment: Vec<(String, String)>,
    /// The working directory; `user` must be able to enter it.
    pub directory: PathBuf,
    /// The user id and group id to run as; `None` means the current user.
    pub user: Option<(u32, u32)>,
    /// The port on 127.0.0.1.
    pub port: u16,
    pub health_check: HealthCheck,
    /// The signal for a graceful shutdown.
    pub stop_signal: Signal,
    /// How long the service may take to stop before it is killed.
    pub stop_timeout: Duration,
}

/// How to find out whether a service is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheck {
    /// The path of a URL that responds with 2xx.
    Http(String),
    /// The path of `pg_isready`, which exits with 0.
    Postgres(PathBuf),
    /// The response to PING is PONG.
    Redis,
}

impl HealthCheck {
    /// Whether the service on this port of 127.0.0.1 is healthy now. Takes at most three seconds.
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
            Self::Redis => redis_ping(port).is_ok_and(|is_pong| is_pong),
        }
    }
}

/// Sends PING; returns whether the response is PONG.
fn redis_ping(port: u16) -> io::Result<bool> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(b"PING\r\n")?;
    let mut response = [0; 5];
    connection.read_exact(&mut response)?;
    Ok(&response == b"+PONG")
}

impl ServiceSpec {
    /// Starts the service in its own process group. A Ctrl-C in the terminal then reaches only xtask, and the
    /// supervisor can kill the service together with its child processes.
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

    /// Whether the service is healthy now. Takes at most three seconds.
    pub fn is_healthy(&self) -> bool {
        self.health_check.check(self.port)
    }

    /// The modification time of the executable, which changes with every rebuild; `None` if it cannot be
    /// read.
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

/// Sends a signal to the process group of its leader. Does nothing if the group no longer exists.
pub fn signal_process_group(leader: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}
