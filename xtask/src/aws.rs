//! Calls AWS APIs: those of the local AWS with the JSON protocol and a dummy signature, and those of a real
//! account with the `aws` command, which has the operator's credentials.

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

/// The AWS environment that a command works on.
#[derive(Debug)]
pub enum AwsTarget {
    /// A local system of this checkout.
    Local(Addresses),
    /// The account and region that the `aws` command is configured for.
    Account,
}

impl AwsTarget {
    /// The operator's account if `account` is set (the flag `--aws`), otherwise the local system.
    ///
    /// # Errors
    /// When the local system is selected but not running.
    pub fn from_flag(account: bool) -> Result<Self> {
        if account {
            return Ok(Self::Account);
        }
        let instance = Instance::from_env();
        if InstanceLock::holder(&instance).is_none() {
            bail!(
                "the local system is not running; run `cargo xtask up`, or pass --aws to use your AWS account"
            );
        }
        Ok(Self::Local(Addresses::from_last_run(&instance)))
    }

    /// Calls `operation` of `service`, both named as in the API model (`sqs`, `ReceiveMessage`).
    ///
    /// # Errors
    /// When there is no response, or the response is an error.
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

/// The prefix of operations in the header `X-Amz-Target`.
fn target_prefix(service: &str) -> &'static str {
    match service {
        "sqs" => "AmazonSQS",
        "states" => "AWSStepFunctions",
        "dynamodb" => "DynamoDB_20120810",
        "secretsmanager" => "secretsmanager",
        _ => "AWSEvents",
    }
}

/// Runs the operator's `aws` command, or the one of the Python environment if there is no other on the PATH.
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
    // An operation without output prints nothing.
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

/// A temporary file with the input of the `aws` command: inputs are too long for an argument, and other users
/// of the machine must not read them.
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

/// Converts the name of an operation for the command line: `ReceiveMessage` becomes `receive-message`.
fn to_kebab_case(operation: &str) -> String {
    let mut name = String::new();
    for character in operation.chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

/// Calls `operation` with its prefix (`AWSStepFunctions.GetExecutionHistory`) in the local AWS.
///
/// # Errors
/// When there is no response, or the response is an error; the message then begins with the error's type.
pub fn call_local(addresses: &Addresses, service: &str, operation: &str, input: &Value) -> Result<Value> {
    let mut response = http::client()
        .post(addresses.aws_endpoint_url())
        .header("authorization", authorization_header(service))
        .header("x-amz-target", operation)
        .content_type(content_type(service))
        .send(input.to_string())
        .with_context(|| {
            format!(
                "the local AWS does not respond at {}",
                addresses.aws_endpoint_url()
            )
        })?;
    let body = response.body_mut().read_to_string().unwrap_or_default();
    let value = serde_json::from_str(&body).unwrap_or(Value::Null);
    if response.status().is_success() {
        return Ok(value);
    }
    // "com.amazonaws.logs#ResourceNotFoundException", or only the part after the #.
    let error_type = value.get("__type").and_then(Value::as_str).unwrap_or("error");
    let error_type = error_type.rsplit('#').next().unwrap_or(error_type);
    let message = ["message", "Message"]
        .iter()
        .find_map(|key| value.get(key)?.as_str())
        .unwrap_or(&body);
    bail!("{error_type}: {message}")
}

fn authorization_header(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}

fn content_type(service: &str) -> &'static str {
    match service {
        "dynamodb" | "sqs" | "states" => "application/x-amz-json-1.0",
        _ => "application/x-amz-json-1.1",
    }
}
