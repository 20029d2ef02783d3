//! Brings the functions and the template into the local AWS, as `sam deploy` brings them into the real one.

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

/// The families of functions: one executable each, at the place of its source folder in the deploy tree.
const FUNCTION_PACKAGES: [&str; 3] = ["auth", "processors", "saga"];

/// What the template takes in besides the functions.
const TEMPLATE_INPUTS: [&str; 3] = ["infrastructure/sam", "events/rules", "step-functions"];

/// The script that deploys a tree. People with Docker run the same one.
const DEPLOY_SCRIPT: &str = "localstack-init/ready.d/10-deploy.sh";

/// Where the local AWS keeps what was deployed last: it goes when the deployment goes.
const DIGEST_PARAMETER: &str = "/matsuri/deployment-digest";

/// How many invocations of one function run at once, for each core of the machine. Each is a process here; of the
/// hundreds that a sale would start at once, none would get ready. Whoever is refused comes again: the saga by its
/// retries, and what reads the queues knows the limit.
const CONCURRENCY_PER_CORE: usize = 4;

/// What came of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployOutcome {
    /// Functions or template differ from before.
    Deployed,
    /// Nothing had changed.
    Unchanged,
}

/// Deploys functions, template and the secrets' values if any of them changed.
///
/// # Errors
/// When the local AWS refuses; the error holds what it said.
pub fn deploy(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<DeployOutcome> {
    let tree = instance.directory().join("deploy");
    for family in FUNCTION_PACKAGES {
        let function = services::executable_path(built, family)?;
        let zip = tree.join("lambdas").join(family);
        if instance.kind().has_fault_injection() {
            let wrapper = services::executable_path(built, "fault-injecting-bootstrap")?;
            write_zip(&[("bootstrap", &wrapper), ("function", &function)], &zip)?;
        } else {
            write_zip(&[("bootstrap", &function)], &zip)?;
        }
    }
    for source in TEMPLATE_INPUTS {
        mirror_folder(&instance::repository_root().join(source), &tree.join(source))?;
    }
    let parameters = deploy_parameters(instance, addresses);
    let digest = inputs_digest(instance, &tree, &parameters)?;
    if deployed_digest(addresses).as_deref() == Some(digest.as_str()) {
        return Ok(DeployOutcome::Unchanged);
    }
    run_deploy_script(instance, addresses, &tree, parameters)?;
    limit_concurrency(addresses)?;
    save_digest(addresses, &digest)?;
    Ok(DeployOutcome::Deployed)
}

/// What differs from one local system to the next.
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
    let seen = addresses.via_proxies();
    let stuck_after = match instance.kind() {
        // A test does not wait for minutes until a saga that died is started again.
        InstanceKind::Test | InstanceKind::Express | InstanceKind::Chaos => "15",
        InstanceKind::Development | InstanceKind::Bench | InstanceKind::Sqlx => "360",
    };
    let keys_fresh = match instance.kind() {
        // A test does not wait for minutes until a key that was just made signs.
        InstanceKind::Test | InstanceKind::Express | InstanceKind::Chaos => "2",
        InstanceKind::Development | InstanceKind::Bench | InstanceKind::Sqlx => "60",
    };
    to_env_vars([
        ("STOCK_SERVICE_URL", seen.stock_service_url()),
        ("CORE_API_URI", addresses.core_api_url()),
        ("AUTH_ISSUER", addresses.gateway_url()),
        ("ACCOUNTS_DATABASE_URL", seen.database_url.clone()),
        ("SIGNING_KEYS_CACHE_TTL_SECONDS", keys_fresh.to_owned()),
        ("PAYMENT_API_URL", seen.payment_provider_url()),
        (
            "GOOGLE_ISSUER",
            addresses.identity_provider_url().unwrap_or_default(),
        ),
        ("ARCHITECTURE", architecture.to_owned()),
        ("SAGA_TYPE", saga_type.to_owned()),
        ("ORDER_STUCK_THRESHOLD_SECONDS", stuck_after.to_owned()),
    ])
}

/// Keeps the number of the functions' processes to what the machine carries. CloudFormation does not do it here.
fn limit_concurrency(addresses: &Addresses) -> Result<()> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let limit = json!({ "ReservedConcurrentExecutions": cores * CONCURRENCY_PER_CORE }).to_string();
    let listed = http::get_json(
        &format!("{}/2015-03-31/functions", addresses.aws_endpoint_url()),
        None,
    )?;
    let functions = listed.get("Functions").and_then(Value::as_array);
    for function in functions.context("the local AWS lists no functions")? {
        let name = function
            .get("FunctionName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let url = format!(
            "{}/2017-10-31/functions/{name}/concurrency",
            addresses.aws_endpoint_url()
        );
        let answer = http::client().put(url).send(&limit)?;
        if !answer.status().is_success() {
            bail!("the local AWS sets no limit for {name}: {}", answer.status());
        }
    }
    Ok(())
}

/// Packs executables as Lambda wants them: Lambda runs the one called `bootstrap`. The zip's bytes depend on nothing
/// else, so that an unchanged family keeps its name in S3 and its functions stay warm. Nothing happens when they are
/// packed already.
fn write_zip(executables: &[(&str, &Path)], zip: &Path) -> Result<()> {
    let mut source = String::new();
    for (name, executable) in executables {
        source.push_str(&format!("{name} {}\n", digest::file_sha256_hex(executable)?));
    }
    let stamp = zip.with_extension("sha256");
    if zip.exists() && fs::read_to_string(&stamp).is_ok_and(|packed| packed == source) {
        return Ok(());
    }
    let context = || format!("cannot write {}", zip.display());
    fs::create_dir_all(zip.parent().context("a zip lies in a folder")?).with_context(context)?;
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
    fs::write(stamp, source).with_context(context)
}

/// The executable without what only a debugger reads: ten functions hold it in memory, and on disk when the local AWS
/// stops. Where there are no binutils, it goes as it is.
fn strip_debug_info(executable: &Path, beside: &Path) -> Result<File> {
    let target = beside.with_extension("stripped");
    let done = Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(&target)
        .arg(executable)
        .output();
    let path = if done.is_ok_and(|output| output.status.success()) {
        &target
    } else {
        executable
    };
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()));
    // The open file outlives its name.
    let _ = fs::remove_file(&target);
    file
}

/// Makes a folder hold the files of another one, and no others.
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

/// What decides whether a deployment would change anything.
fn inputs_digest(instance: &Instance, tree: &Path, parameters: &[(String, String)]) -> Result<String> {
    let mut files: Vec<PathBuf> = FUNCTION_PACKAGES
        .iter()
        .map(|family| tree.join("lambdas").join(family))
        .collect();
    for source in TEMPLATE_INPUTS {
        let folder = fs::read_dir(tree.join(source))?.collect::<Result<Vec<_>, _>>()?;
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
    let answer = aws::call_local(addresses, "ssm", "AmazonSSM.GetParameter", &input).ok()?;
    Some(answer.pointer("/Parameter/Value")?.as_str()?.to_owned())
}

fn save_digest(addresses: &Addresses, digest: &str) -> Result<()> {
    let input = json!({ "Name": DIGEST_PARAMETER, "Value": digest, "Type": "String", "Overwrite": true });
    aws::call_local(addresses, "ssm", "AmazonSSM.PutParameter", &input).map(drop)
}

fn run_deploy_script(
    instance: &Instance,
    addresses: &Addresses,
    tree: &Path,
    parameters: Vec<(String, String)>,
) -> Result<()> {
    let path = format!(
        "{}:{}",
        python::bin_dir().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("sh")
        .arg(instance::repository_root().join(DEPLOY_SCRIPT))
        .current_dir(tree)
        .env_clear()
        .envs(services::base_env(instance))
        .envs(addresses.aws_env())
        .envs(parameters)
        .env("PATH", path)
        .env("DEPLOY_DIR", tree)
        .env("MATSURI_KEYS", instance.keys_dir())
        .env("DISABLE_DEPRECATION_NOTICE", "1")
        .stdin(Stdio::null())
        .output()
        .context("cannot run sh")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{DEPLOY_SCRIPT} failed:\n{}",
            String::from_utf8_lossy(&said).trim()
        );
    }
    Ok(())
}
