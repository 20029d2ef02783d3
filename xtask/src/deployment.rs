//! Deploys the functions and the SAM template to the local AWS, as `sam deploy` does to a real account.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::cargo::Executables;
use crate::environment::{Addresses, to_env_vars};
use crate::instance::{self, Instance, InstanceKind};
use crate::{aws, digest, http, keys, python, services};

/// The function executables; each contains several Lambda functions. In the deploy folder, each zip file has
/// the path of its source folder.
const FUNCTION_PACKAGES: [&str; 4] = ["auth", "processors", "saga", "websocket"];

/// The folders that the template includes besides the functions.
const TEMPLATE_INPUTS: [&str; 4] = [
    "infrastructure/sam",
    "infrastructure/rds-ca",
    "events/rules",
    "step-functions",
];

/// The definition of the saga's state machine.
const STATE_MACHINE: &str = "step-functions/order-saga.asl.json";

/// The script that deploys the folder; docker-compose runs the same one.
const DEPLOY_SCRIPT: &str = "localstack-init/ready.d/10-deploy.sh";

/// The SSM parameter with the digest of the last deployment. It is stored in the local AWS, so that it is
/// lost together with the deployment.
const DIGEST_PARAMETER: &str = "/matsuri/deployment-digest";

/// How many invocations of one function run concurrently, per core of the machine. Each is a process in the
/// local AWS; hundreds of them, as under a load spike, would keep each other from becoming ready. Throttled
/// invocations are retried: by the saga's retries, and by the event source mappings, which respect the limit.
const CONCURRENCY_PER_CORE: usize = 4;

/// The result of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployOutcome {
    /// Functions, template or parameters had changed.
    Deployed,
    Unchanged,
}

/// Deploys functions, template and the values of the secrets if any of them changed.
///
/// # Errors
/// When the deploy script fails; the error holds its output.
pub fn deploy(
    instance: &Instance,
    addresses: &Addresses,
    executables: &Executables,
) -> Result<DeployOutcome> {
    let deploy_dir = instance.directory().join("deploy");
    for package in FUNCTION_PACKAGES {
        let function = services::executable_path(executables, package)?;
        let zip = deploy_dir.join("lambdas").join(package);
        if instance.kind().has_fault_injection() {
            let wrapper = services::executable_path(executables, "fault-injecting-bootstrap")?;
            write_zip(&[("bootstrap", &wrapper), ("function", &function)], &zip)?;
        } else {
            write_zip(&[("bootstrap", &function)], &zip)?;
        }
    }
    for folder in TEMPLATE_INPUTS {
        mirror_folder(
            &instance::repository_root().join(folder),
            &deploy_dir.join(folder),
        )?;
    }
    retry_throttling_as_the_local_aws_reports_it(&deploy_dir.join(STATE_MACHINE))?;
    let parameters = deploy_parameters(instance, addresses);
    let digest = inputs_digest(instance, &deploy_dir, &parameters)?;
    if deployed_digest(addresses).as_deref() == Some(digest.as_str()) {
        return Ok(DeployOutcome::Unchanged);
    }
    run_deploy_script(instance, addresses, &deploy_dir, parameters)?;
    limit_concurrency(addresses)?;
    save_digest(addresses, &digest)?;
    Ok(DeployOutcome::Deployed)
}

/// The parameters of the deploy script that differ between instances.
fn deploy_parameters(instance: &Instance, addresses: &Addresses) -> Vec<(String, String)> {
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
    };
    let saga_type = if instance.kind() == InstanceKind::Express {
        "EXPRESS"
    } else {
        "STANDARD"
    };
    let proxied = addresses.via_proxies();
    let stuck_threshold = match instance.kind() {
        // A short threshold, so that tests need not wait minutes until a dead saga is restarted.
        InstanceKind::Test | InstanceKind::Express | InstanceKind::Chaos => "15",
        InstanceKind::Development | InstanceKind::Bench | InstanceKind::Sqlx => "360",
    };
    let payment_action_timeout = match instance.kind() {
        // A short limit, so that tests need not wait minutes until an authentication has expired.
        InstanceKind::Test | InstanceKind::Express | InstanceKind::Chaos => "60",
        InstanceKind::Development | InstanceKind::Bench | InstanceKind::Sqlx => "600",
    };
    let keys_cache_ttl = match instance.kind() {
        // A short TTL, so that tests need not wait minutes until functions use a new key.
        InstanceKind::Test | InstanceKind::Express | InstanceKind::Chaos => "2",
        InstanceKind::Development | InstanceKind::Bench | InstanceKind::Sqlx => "60",
    };
    to_env_vars([
        ("STOCK_SERVICE_URL", proxied.stock_service_url()),
        ("CORE_API_URI", addresses.core_api_url()),
        ("AUTH_ISSUER", addresses.gateway_url()),
        ("CORE_API_DATABASE_URL", proxied.database_url_of("core_api")),
        (
            "STOCK_SERVICE_DATABASE_URL",
            proxied.database_url_of("stock_service"),
        ),
        ("AUTH_DATABASE_URL", proxied.database_url_of("auth")),
        ("SIGNING_KEYS_CACHE_TTL_SECONDS", keys_cache_ttl.to_owned()),
        ("PAYMENT_API_URL", proxied.payment_provider_url()),
        // Empty disables the sign-in with Google.
        (
            "GOOGLE_ISSUER",
            addresses.identity_provider_url().unwrap_or_default(),
        ),
        ("ARCHITECTURE", architecture.to_owned()),
        ("SAGA_TYPE", saga_type.to_owned()),
        ("ORDER_STUCK_THRESHOLD_SECONDS", stuck_threshold.to_owned()),
        (
            "PAYMENT_ACTION_TIMEOUT_SECONDS",
            payment_action_timeout.to_owned(),
        ),
    ])
}

/// Adds the error name of a throttled invocation in the local AWS to the retriers of throttling: AWS reports
/// `Lambda.TooManyRequestsException`, the local AWS `Lambda.Unknown`.
fn retry_throttling_as_the_local_aws_reports_it(definition: &Path) -> Result<()> {
    const AWS: &str = r#"["Lambda.TooManyRequestsException"]"#;
    const LOCAL: &str = r#"["Lambda.TooManyRequestsException", "Lambda.Unknown"]"#;
    let text =
        fs::read_to_string(definition).with_context(|| format!("cannot read {}", definition.display()))?;
    if !text.contains(AWS) {
        bail!("{} retries no throttled invocation", definition.display());
    }
    fs::write(definition, text.replace(AWS, LOCAL))
        .with_context(|| format!("cannot write {}", definition.display()))
}

/// Limits the concurrency of each function to what the machine can run. The CloudFormation of the local AWS
/// ignores the template's setting.
fn limit_concurrency(addresses: &Addresses) -> Result<()> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let limit = json!({ "ReservedConcurrentExecutions": cores * CONCURRENCY_PER_CORE }).to_string();
    let listed = http::get_json(
        &format!("{}/2015-03-31/functions", addresses.aws_endpoint_url()),
        None,
    )?;
    let functions = listed.get("Functions").and_then(Value::as_array);
    for function in functions.context("the local AWS listed no functions")? {
        let name = function
            .get("FunctionName")
            .and_then(Value::as_str)
            .context("the local AWS listed a function without a name")?;
        let url = format!(
            "{}/2017-10-31/functions/{name}/concurrency",
            addresses.aws_endpoint_url()
        );
        let response = http::client().put(url).send(&limit)?;
        if !response.status().is_success() {
            bail!(
                "the local AWS rejected the concurrency limit of {name} with {}",
                response.status()
            );
        }
    }
    Ok(())
}

/// Writes executables to a zip file for Lambda, which runs the one named `bootstrap`. The bytes of the zip
/// depend only on the executables, so that an unchanged package keeps its name in S3 and its functions stay
/// warm. Does nothing if the zip is up to date.
fn write_zip(executables: &[(&str, &Path)], zip: &Path) -> Result<()> {
    let mut digests = String::new();
    for (name, executable) in executables {
        digests.push_str(&format!("{name} {}\n", digest::file_sha256_hex(executable)?));
    }
    let stamp = zip.with_extension("sha256");
    if zip.exists() && fs::read_to_string(&stamp).is_ok_and(|packed| packed == digests) {
        return Ok(());
    }
    let context = || format!("cannot write {}", zip.display());
    fs::create_dir_all(zip.parent().context("the path of a zip file has a parent")?).with_context(context)?;
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(1))
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o755);
    let mut writer = ZipWriter::new(File::create(zip).with_context(context)?);
    for (name, executable) in executables {
        writer.start_file(*name, options)?;
        io::copy(&mut strip_debug_info(executable, zip)?, &mut writer).with_context(context)?;
    }
    writer.finish()?.flush()?;
    fs::write(stamp, digests).with_context(context)
}

/// Opens a copy of the executable without debug information, because ten functions hold it in memory and the
/// local AWS writes it to disk when it stops. Opens the executable itself on machines without binutils.
fn strip_debug_info(executable: &Path, zip: &Path) -> Result<File> {
    let target = zip.with_extension("stripped");
    let output = Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(&target)
        .arg(executable)
        .output();
    let path = if output.is_ok_and(|output| output.status.success()) {
        &target
    } else {
        executable
    };
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()));
    // The open file stays readable after its name is removed.
    let _ = fs::remove_file(&target);
    file
}

/// Replaces the files of the folder `to` with those of the folder `from`; ignores subfolders.
fn mirror_folder(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// A digest of everything that affects a deployment.
fn inputs_digest(instance: &Instance, deploy_dir: &Path, parameters: &[(String, String)]) -> Result<String> {
    let mut files: Vec<PathBuf> = FUNCTION_PACKAGES
        .iter()
        .map(|package| deploy_dir.join("lambdas").join(package))
        .collect();
    for source in TEMPLATE_INPUTS {
        let folder = fs::read_dir(deploy_dir.join(source))?.collect::<Result<Vec<_>, _>>()?;
        files.extend(folder.into_iter().map(|entry| entry.path()));
    }
    files.push(instance::repository_root().join(DEPLOY_SCRIPT));
    files.extend(keys::secret_files(instance));
    files.sort();
    let mut inputs = format!("{parameters:?}\n");
    for file in files {
        inputs.push_str(&format!(
            "{} {}\n",
            file.display(),
            digest::file_sha256_hex(&file)?
        ));
    }
    Ok(digest::sha256_hex(inputs.as_bytes()))
}

fn deployed_digest(addresses: &Addresses) -> Option<String> {
    let input = json!({ "Name": DIGEST_PARAMETER });
    let response = aws::call_local(addresses, "ssm", "AmazonSSM.GetParameter", &input).ok()?;
    Some(response.pointer("/Parameter/Value")?.as_str()?.to_owned())
}

fn save_digest(addresses: &Addresses, digest: &str) -> Result<()> {
    let input = json!({ "Name": DIGEST_PARAMETER, "Value": digest, "Type": "String", "Overwrite": true });
    aws::call_local(addresses, "ssm", "AmazonSSM.PutParameter", &input).map(drop)
}

fn run_deploy_script(
    instance: &Instance,
    addresses: &Addresses,
    deploy_dir: &Path,
    parameters: Vec<(String, String)>,
) -> Result<()> {
    let output = Command::new("sh")
        .arg(instance::repository_root().join(DEPLOY_SCRIPT))
        .current_dir(deploy_dir)
        .env_clear()
        .envs(services::base_env(instance))
        .envs(addresses.aws_env())
        .envs(parameters)
        .env("PATH", python::path_with_bin_dir())
        .env("DEPLOY_DIR", deploy_dir)
        .env("MATSURI_KEYS", instance.keys_dir())
        .env("DISABLE_DEPRECATION_NOTICE", "1")
        .stdin(Stdio::null())
        .output()
        .context("cannot run sh")?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!(
            "{DEPLOY_SCRIPT} failed:\n{}",
            String::from_utf8_lossy(&printed).trim()
        );
    }
    Ok(())
}
