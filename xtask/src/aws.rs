//! A few calls to AWS: to the local one over its JSON protocol, where requests carry a signature in form only, and to
//! a real account by the `aws` command, which knows the person's credentials.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use uuid::Uuid;

use crate::environment::{Addresses, REGION};
use crate::instance::Instance;
use crate::supervisor::InstanceLock;
use crate::{http, python};

/// Where a command finds queues, bus and saga.
#[derive(Debug)]
pub enum AwsTarget {
    /// A system of this checkout.
    Local(Addresses),
    /// The account and region that the `aws` command is set up for.
    Account,
}

impl AwsTarget {
    /// The person's account if he wants that, otherwise the local system.
    ///
    /// # Errors
    /// When the local system is wanted and not running.
    pub fn from_flag(account: bool) -> Result<Self> {
        if account {
            return Ok(Self::Account);
        }
        let instance = Instance::from_env();
        if InstanceLock::holder(&instance).is_none() {
            bail!(
                "the system is not running; `cargo xtask up` starts it, and --aws means your account in AWS"
            );
        }
        Ok(Self::Local(Addresses::from_last_run(&instance)))
    }

    /// Calls `operation` of `service`, both named as in the API model (`sqs`, `ReceiveMessage`).
    ///
    /// # Errors
    /// When nobody answers, or the answer is an error.
    pub fn call(&self, service: &str, operation: &str, input: &Value) -> Result<Value> {
        match self {
            Self::Local(addresses) => call_local(
                addresses,
                service,
                &format!("{}.{operation}", target_prefix(service)),
                input,
            ),
            Self::Account => run_aws_cli(service, operation, input),
        }
    }
}

/// What stands before an operation in the header that names it.
fn target_prefix(service: &str) -> &'static str {
    match service {
        "sqs" => "AmazonSQS",
        "states" => "AWSStepFunctions",
        "secretsmanager" => "secretsmanager",
        _ => "AWSEvents",
    }
}

/// One run of the person's own `aws`, or of ours where he has none.
fn run_aws_cli(service: &str, operation: &str, input: &Value) -> Result<Value> {
    let path = std::env::var("PATH").unwrap_or_default();
    let service = if service == "states" {
        "stepfunctions"
    } else {
        service
    };
    let file = CliInputFile::write(input)?;
    let output = Command::new("aws")
        .env("PATH", format!("{path}:{}", python::bin_dir().display()))
        .env("AWS_PAGER", "")
        .args([
            service,
            &to_kebab_case(operation),
            "--output",
            "json",
            "--cli-input-json",
        ])
        .arg(format!("file://{}", file.0.display()))
        .stdin(Stdio::null())
        .output()
        .context("cannot run the aws command")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    // An operation without an answer prints nothing.
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

/// A request on its way to the `aws` command: too long for an argument, and nobody else's to read.
struct CliInputFile(PathBuf);

impl CliInputFile {
    fn write(input: &Value) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("xtask-{}.json", Uuid::new_v4()));
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(input.to_string().as_bytes())?;
        Ok(Self(path))
    }
}

impl Drop for CliInputFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// `ReceiveMessage` as the command line has it: `receive-message`.
fn to_kebab_case(operation: &str) -> String {
    let mut name = String::new();
    for letter in operation.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Calls `operation`, named as in the service's API model (`AWSStepFunctions.GetExecutionHistory`).
///
/// # Errors
/// When nobody answers, or the answer is an error; the message begins with the error's type.
pub fn call_local(addresses: &Addresses, service: &str, operation: &str, input: &Value) -> Result<Value> {
    let mut response = http::client()
        .post(addresses.aws_endpoint_url())
        .header("authorization", authorization_header(service))
        .header("x-amz-target", operation)
        .content_type(content_type(service))
        .send(input.to_string())
        .with_context(|| {
            format!(
                "the local AWS does not answer at {}",
                addresses.aws_endpoint_url()
            )
        })?;
    let body = response.body_mut().read_to_string().unwrap_or_default();
    let value = serde_json::from_str(&body).unwrap_or(Value::Null);
    if response.status().is_success() {
        return Ok(value);
    }
    // "com.amazonaws.logs#ResourceNotFoundException", or the last part alone
    let kind = value.get("__type").and_then(Value::as_str).unwrap_or("error");
    let kind = kind.rsplit('#').next().unwrap_or(kind);
    let message = ["message", "Message"]
        .iter()
        .find_map(|key| value.get(key)?.as_str())
        .unwrap_or(&body);
    bail!("{kind}: {message}")
}

fn authorization_header(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

fn content_type(service: &str) -> &'static str {
    match service {
        "dynamodb" | "sqs" | "states" => "application/x-amz-json-1.0",
        _ => "application/x-amz-json-1.1",
    }
}
