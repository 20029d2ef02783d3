//! Processes that a benchmark starts itself, because it needs a fresh process or a different environment.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::context::Context;

/// How long a process may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval of readiness checks. It is the resolution of measured startup times.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A server process on 127.0.0.1. Dropping it kills the process.
#[derive(Debug)]
pub struct ServiceProcess {
    child: Child,
    /// Address and port.
    pub address: String,
    /// Time from the start of the process until `/ready` responded with 200.
    pub ready_after: Duration,
}

/// The resident set size, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct ResidentMemory {
    pub current: f64,
    /// The maximum since the process started.
    pub peak: f64,
}

impl ServiceProcess {
    /// Starts a server that listens on `PORT`, and waits until it is ready. Its environment contains only
    /// `variables`.
    ///
    /// # Errors
    /// Fails when the process cannot be started, exits, or is not ready in time.
    pub async fn start(
        executable: &Path,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let port = free_port().await?;
        let address = format!("127.0.0.1:{port}");
        let started = Instant::now();
        let child = Command::new(executable)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("PORT", port.to_string())
            .env("BIND_ADDRESS", "127.0.0.1")
            .env("SHUTDOWN_DRAIN_SECONDS", "0")
            .stdin(Stdio::null())
            // The process still writes its log, as in a container.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", executable.display()))?;
        // Dropping this value stops the process on every return from here on.
        let mut service = Self {
            child,
            address,
            ready_after: Duration::ZERO,
        };
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://{}/ready", service.address);
        loop {
            // A refused connection is much cheaper than a failed HTTP request.
            if TcpStream::connect(&service.address).await.is_ok()
                && let Ok(response) = client.get(&url).send().await
                && response.status().is_success()
            {
                service.ready_after = started.elapsed();
                return Ok(service);
            }
            if let Some(status) = service.child.try_wait()? {
                bail!("{} exited during startup: {status}", executable.display());
            }
            ensure!(
                started.elapsed() < READY_TIMEOUT,
                "{} is not ready in time",
                executable.display()
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends a GET request and returns the response body.
    ///
    /// # Errors
    /// Fails when the request fails or the status is not a success.
    pub async fn get(&self, target: &str) -> anyhow::Result<String> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let response = client
            .get(format!("http://{}{target}", self.address))
            .send()
            .await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// Returns the CPU time of all threads of the process.
    ///
    /// # Errors
    /// Fails when the process has exited.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let times = fs::read_to_string(thread?.path().join("schedstat"))?;
            let ran = times
                .split_whitespace()
                .next()
                .context("schedstat contains no run time")?;
            nanoseconds += ran.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Returns the memory usage of the process.
    ///
    /// # Errors
    /// Fails when the process has exited.
    pub fn memory(&self) -> anyhow::Result<ResidentMemory> {
        resident_memory(self.child.id())
    }
}

/// Returns the memory usage of a process.
///
/// # Errors
/// Fails when the process has exited.
pub fn resident_memory(id: u32) -> anyhow::Result<ResidentMemory> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let mebibytes = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes / 1024.0)
    };
    mebibytes("VmRSS:")
        .zip(mebibytes("VmHWM:"))
        .map(|(current, peak)| ResidentMemory { current, peak })
        .context("the process has exited")
}

/// Returns the process id of the local AWS.
///
/// # Errors
/// Fails when no process listens on its port as MiniStack does.
pub fn find_local_aws(context: &Context) -> anyhow::Result<u32> {
    let (_, port) = context
        .addresses
        .aws
        .rsplit_once(':')
        .context("the URL of the local AWS has no port")?;
    let variable = format!("GATEWAY_PORT={port}");
    let is_gateway = |id: u32| {
        let read = |name: &str| fs::read(format!("/proc/{id}/{name}")).unwrap_or_default();
        let mut variables = read("environ");
        variables.push(0);
        // Its functions inherit the variable.
        variables
            .split(|byte| *byte == 0)
            .any(|set| set == variable.as_bytes())
            && String::from_utf8_lossy(&read("cmdline")).contains("ministack")
    };
    fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|id| is_gateway(*id))
        .with_context(|| format!("no process of the local AWS with {variable}"))
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        // Killing a process that has already exited fails, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the environment of core-api, which accepts the user tokens of the system under test.
pub fn core_api_environment(context: &Context, aws: &str, database: &str) -> Vec<(&'static str, String)> {
    let mut all = service_environment(context, aws, database);
    all.extend([
        ("AUTH_ISSUER", context.addresses.gateway_url.clone()),
        ("WS_API_URL", context.addresses.websocket_api_url.clone()),
    ]);
    all
}

/// Returns the environment of both services, with the AWS endpoint `aws` and the database `database`.
/// stock-service accepts the service tokens of the system under test.
pub fn service_environment(context: &Context, aws: &str, database: &str) -> Vec<(&'static str, String)> {
    let mut all = aws_environment(aws);
    all.extend([
        ("DATABASE_URL", database.to_owned()),
        (
            "AUTH_JWKS_PATH",
            context.service_jwks_path().display().to_string(),
        ),
        // All load comes from one IP address. Requests are still counted against the rate limits.
        ("RATE_LIMIT_MULTIPLIER", "1000000".to_owned()),
    ]);
    all.extend(context.addresses.redis.clone().map(|url| ("REDIS_URL", url)));
    all
}

/// Returns the environment for AWS clients with the endpoint `aws`.
pub fn aws_environment(aws: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", aws.to_owned()),
        ("AWS_REGION", "ap-northeast-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

async fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(listener.local_addr()?.port())
}
