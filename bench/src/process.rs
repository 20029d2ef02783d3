//! Programs that a figure starts for itself, because it needs them fresh or with other surroundings.

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

/// How long a program may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a program is asked whether it is ready: what is measured is no more exact than that.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A running program that listens on 127.0.0.1. Dropping it kills it.
#[derive(Debug)]
pub struct ServiceProcess {
    child: Child,
    /// Where it listens: address and port.
    pub address: String,
    /// How long it took from its start until `/ready` answered 200.
    pub ready_after: Duration,
}

/// A resident set, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct ResidentMemory {
    /// At this moment.
    pub current: f64,
    /// At the worst moment so far.
    pub peak: f64,
}

impl ServiceProcess {
    /// Starts a program that listens on `PORT` and waits until it is ready. It sees `variables` and nothing of ours.
    ///
    /// # Errors
    /// When it cannot be run, ends, or is not ready in time.
    pub async fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let port = free_port().await?;
        let address = format!("127.0.0.1:{port}");
        let started = Instant::now();
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("PORT", port.to_string())
            .env("BIND_ADDRESS", "127.0.0.1")
            .env("SHUTDOWN_DRAIN_SECONDS", "0")
            .stdin(Stdio::null())
            // A log that goes nowhere still has to be written, as in a container.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        // From here on it is stopped, whatever happens.
        let mut service = Self {
            child,
            address,
            ready_after: Duration::ZERO,
        };
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://{}/ready", service.address);
        loop {
            // Without a listener there is nobody to ask; a connection refused costs next to nothing.
            if TcpStream::connect(&service.address).await.is_ok()
                && let Ok(answer) = client.get(&url).send().await
                && answer.status().is_success()
            {
                service.ready_after = started.elapsed();
                return Ok(service);
            }
            if let Some(status) = service.child.try_wait()? {
                bail!("{} ended instead of serving: {status}", program.display());
            }
            ensure!(
                started.elapsed() < READY_TIMEOUT,
                "{} is not ready",
                program.display()
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The body that it answers a GET with.
    ///
    /// # Errors
    /// When it does not answer with success.
    pub async fn get(&self, target: &str) -> anyhow::Result<String> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client
            .get(format!("http://{}{target}", self.address))
            .send()
            .await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// How long the program has computed so far, all of its threads together.
    ///
    /// # Errors
    /// When it runs no more.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let times = fs::read_to_string(thread?.path().join("schedstat"))?;
            let ran = times
                .split_whitespace()
                .next()
                .context("a thread has run for a time")?;
            nanoseconds += ran.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// How much memory the program holds.
    ///
    /// # Errors
    /// When it runs no more.
    pub fn memory(&self) -> anyhow::Result<ResidentMemory> {
        let id = self.child.id();
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let mebibytes = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kibibytes / 1024.0)
        };
        mebibytes("VmRSS:")
            .zip(mebibytes("VmHWM:"))
            .map(|(now, highest)| ResidentMemory {
                current: now,
                peak: highest,
            })
            .context("the program has ended")
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        // One that has ended by itself is no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What our services read, with the AWS at `aws` and the database at `database`; they know the tokens of the system under
/// test.
pub fn service_environment(context: &Context, aws: &str, database: &str) -> Vec<(&'static str, String)> {
    let mut all = aws_environment(aws);
    all.extend([
        ("DATABASE_URL", database.to_owned()),
        ("AUTH_ISSUER", context.addresses.front_door.clone()),
        (
            "AUTH_JWKS_PATH",
            context.service_jwks_path().display().to_string(),
        ),
        // The load comes from one address; the limits are counted all the same.
        ("RATE_LIMIT_MULTIPLIER", "1000000".to_owned()),
    ]);
    all.extend(context.addresses.redis.clone().map(|url| ("REDIS_URL", url)));
    all
}

/// What an AWS client reads to reach the AWS at `aws` and no other.
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
